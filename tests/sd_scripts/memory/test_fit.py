# SPDX-License-Identifier: Apache-2.0
"""Complete trainings that are computed as the memory requires: the choice is reported and kept in the state,
and a training that does not fit is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file

from library.memory import fit, footprint, host_memory, needs, tiers
from library.memory.footprint import Run, Tier
from library.memory.needs import Demand
from library.memory.tiers import Budget
from tests.sd_scripts.in_process import run
from tests.sd_scripts.running import Models, Settings, make_models, make_pictures


@pytest.fixture(scope="module")
def deep_models(tmp_path_factory: pytest.TempPathFactory) -> Models:
    """Has enough blocks for some to take turns."""
    return make_models(
        tmp_path_factory.mktemp("deep"),
        *("--hidden", "64", "--heads", "2", "--double-blocks", "4", "--single-blocks", "6"),
    )


@pytest.fixture
def deep(deep_models: Models, tmp_path: Path) -> Settings:
    """One epoch of 6 steps."""
    made = Settings(models=deep_models, folder=tmp_path, pictures=make_pictures(tmp_path / "pictures", 3))
    return made.plus("--mixed_precision bf16 --max_train_epochs 1")


def choices_of(state: Path) -> dict[str, Any]:
    """The choices that a state records, of those that `tiers` makes."""
    saved = json.loads((state / "train_state.json").read_text(encoding="utf-8"))["choices"]
    return {name: saved[name] for name in ("base", "checkpointed_blocks", "blocks_to_swap")}


class Machine:
    """Replaces the memory of this machine's GPU by `room`. `run` is the last training whose memory was estimated."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.room: Budget | None = None
        self.run: Run | None = None
        of = footprint.of

        def watched(run: Run, tier: Tier) -> footprint.Footprint:
            self.run = run
            return of(run, tier)

        monkeypatch.setattr(tiers, "budget", lambda *_, **__: self.room)
        monkeypatch.setattr(footprint, "of", watched)
        # Encoding is estimated as for the real encoders, beside which this transformer needs next to nothing.
        monkeypatch.setattr(tiers, "check_encoding", lambda *_: None)

    def fits(self, tier: Tier) -> None:
        """Gives the machine room for this tier and nothing more."""
        assert self.run is not None
        needed = footprint.of(self.run, tier).total
        self.room = Budget(chosen=needed, most=needed)


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    return Machine(monkeypatch)


def test_a_choice_is_reported_kept_and_made_again_on_request(
    deep: Settings, machine: Machine, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(deep.plus("", output="roomy")).error is None
    assert "memory:" not in capsys.readouterr().out
    assert choices_of(deep.folder / "roomy" / "lora-state") == vars(Tier())

    small = Tier(base="fp8", checkpointed_blocks=10, blocks_to_swap=2)
    machine.fits(small)
    assert run(deep).error is None
    line = "fp8 base, 10 of 10 blocks checkpointed, 2 blocks swapped, estimated 0.5 GB\n"
    assert line in capsys.readouterr().out
    state = deep.output_dir / "lora-state"
    assert choices_of(state) == vars(small)

    longer = deep.plus(f"--max_train_epochs 2 --resume {state}", output="longer")
    # More room is no reason to compute differently.
    machine.fits(Tier())
    assert run(longer).error is None
    assert choices_of(longer.output_dir / "lora-state") == vars(small)

    # Too little for the state's tier, even without the reserve.
    smaller = Tier(base="fp8", checkpointed_blocks=10, blocks_to_swap=3)
    machine.fits(smaller)
    assert machine.room is not None
    machine.room = Budget(chosen=machine.room.chosen, most=machine.room.most - footprint.RESERVE)
    refused = run(deep.plus(f"--max_train_epochs 2 --resume {state}", output="refused"))
    assert refused.error is not None
    assert "with fp8 base, 10 blocks checkpointed, 2 blocks swapped: " in refused.error
    assert "add --replan to choose again for this GPU" in refused.error
    assert not list((deep.folder / "refused").iterdir())
    nowhere = deep.plus(f"--max_train_epochs 2 --resume {state} --replan --gradient_checkpointing --blocks_to_swap 0")
    refused = run(nowhere.plus("", output="nowhere"))
    assert refused.error is not None
    assert "--replan" not in refused.error
    replanned = deep.plus(f"--max_train_epochs 2 --resume {state} --replan", output="replanned")
    assert run(replanned).error is None
    assert choices_of(replanned.output_dir / "lora-state") == vars(smaller)


ADAFACTOR = (
    "--optimizer_type adafactor --optimizer_args relative_step=False scale_parameter=False warmup_init=False "
    "--lr_scheduler constant_with_warmup --max_grad_norm 0.0"
)


@pytest.mark.parametrize(
    ("preset", "swapped"),
    [
        pytest.param("--optimizer_type adamw8bit", 0, id="20G"),
        pytest.param(ADAFACTOR, 0, id="16G"),
        # As many as a model of this depth can swap.
        pytest.param(f"{ADAFACTOR} --split_mode --network_args train_blocks=single", 4, id="12G"),
    ],
)
def test_the_settings_of_fluxgym_for_small_gpus_are_accepted_as_they_are(
    preset: str, swapped: int, deep: Settings, machine: Machine
) -> None:
    """The flags that an older FluxGym passes, with room for everything, and with room for their tier alone."""
    asked = deep.plus(f"{preset} --fp8_base --highvram --lowram --gradient_checkpointing")
    expected = Tier(base="fp8", checkpointed_blocks=10, blocks_to_swap=swapped)
    for output in ("roomy", "tight"):
        outcome = run(asked.plus("", output=output))
        assert (outcome.error, len(outcome.steps)) == (None, 6)
        assert choices_of(deep.folder / output / "lora-state") == vars(expected)
        machine.fits(expected)


def test_a_memory_size_may_be_given_without_a_gpu(deep: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(deep.plus("--vram 12")).error is None
    assert "memory: 12.0 GB: unquantised base, no blocks checkpointed, estimated 0.5 GB\n" in capsys.readouterr().out


def test_samples_and_encoding_are_taken_into_account(
    deep: Settings, machine: Machine, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(deep.plus("--mixed_precision bf16", output="alone")).error is None
    assert machine.run is not None
    assert machine.run.sample is None
    large = deep.folder / "large.txt"
    large.write_text("a red square --w 512 --h 768 --s 1\n")
    sampled = deep.plus(f"--sample_prompts {large} --sample_every_n_epochs 3", output="sampled")
    assert run(sampled).error is None
    found = machine.run.sample
    assert found is not None
    assert (found.area, found.tokens) == (512 * 768, 512 * 768 // 256 + 16)
    weights = load_file(deep.models.folder / "ae.safetensors").values()
    assert found.autoencoder == 4 * sum(tensor.numel() for tensor in weights)
    step = footprint.of(machine.run, Tier()).step
    machine.room = Budget(chosen=step, most=step)
    capsys.readouterr()
    assert run(sampled.plus("", output="tight")).error is None
    assert "warning: samples need about 1." in capsys.readouterr().err


def test_cached_pictures_are_not_encoded_again(
    deep: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither are those whose caches another training shares."""
    monkeypatch.setenv("FLUXGYM_CACHES", str(tmp_path / "shared"))
    seen: list[tuple[str, int]] = []
    monkeypatch.setattr(tiers, "check_encoding", lambda count, what, _budget: seen.append((what, count)))
    assert run(deep).error is None
    cached = deep.plus("--cache_latents_to_disk --cache_text_encoder_outputs_to_disk")
    assert run(cached).error is None
    both = seen[:2]
    assert [what for what, _ in both] == ["encoding the pictures", "encoding the captions"]
    assert seen == both * 2
    encoders = [load_file(deep.models.folder / name) for name in ("clip_l.safetensors", "t5xxl_fp16.safetensors")]
    assert both[1][1] == 2 * sum(tensor.numel() for encoder in encoders for tensor in encoder.values())
    for cache in deep.pictures.glob("0*.npz"):
        cache.unlink()
    assert run(cached).error is None
    assert seen == both * 2


def test_a_host_without_room_for_the_captions_is_reported(deep: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host_memory, "available", lambda: 1000)
    error = run(deep).error
    assert error is not None
    assert "for embeddings of 3 captions" in error
    assert "but only 0.0 GB is available" in error


def test_existing_caches_need_no_room_on_the_disk(deep: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[list[Demand]] = []
    monkeypatch.setattr(needs, "check_disk", lambda demands, **_: seen.append(list(demands)))
    cached = deep.plus("--cache_latents_to_disk --cache_text_encoder_outputs_to_disk")
    for _ in range(2):
        assert run(cached).error is None
    first, second = ([demand.what for demand in demands] for demands in seen)
    assert first == ["one LoRA and one state", "the caches"]
    assert second == ["one LoRA and one state"]
    # The real sizes, without the files' own headers.
    caches = sum(file.stat().st_size for file in deep.pictures.glob("*.npz"))
    assert 0.5 * caches < seen[0][1].count < caches
    states = sum(file.stat().st_size for file in (deep.output_dir / "lora-state").iterdir())
    assert 0.5 * states < seen[0][0].count < states + (deep.output_dir / "lora.safetensors").stat().st_size


def test_folders_on_one_disk_share_its_room(tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    demands = [(tmp_path, Demand(count=1, what="a")), (other, Demand(count=2, what="b"))]
    ((folder, together),) = fit.by_disk(demands)
    assert (folder, [demand.count for demand in together]) == (tmp_path, [1, 2])
