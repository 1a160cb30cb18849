# SPDX-License-Identifier: Apache-2.0
"""Trainings with --fp8_base: losses near bf16's, exact resumes, samples, and a base that the state determines."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image
from safetensors import safe_open

from library.compute import fp8
from library.flux import loading
from tests.sd_scripts.in_process import interrupted, run
from tests.sd_scripts.outcomes import assert_same_lora, assert_trained
from tests.sd_scripts.running import Settings, train

FP8 = "--fp8_base --mixed_precision bf16"


def test_the_losses_are_near_those_in_bf16(settings: Settings, tmp_path: Path) -> None:
    """Noise, levels and order are the same, so losses can be compared by step. Rounding moves weights by 2.7 %."""
    in_bf16 = run(settings.plus("--mixed_precision bf16", output="bf16"))
    in_fp8 = run(settings.plus(FP8, output="fp8"))
    assert (in_bf16.error, in_fp8.error) == (None, None)
    assert in_fp8.steps == in_bf16.steps == list(range(1, 19))
    assert in_fp8.losses == pytest.approx(in_bf16.losses, rel=0.03)
    assert in_fp8.losses != in_bf16.losses
    assert_trained(tmp_path / "fp8" / "lora.safetensors")


def test_the_program_trains_and_samples(settings: Settings) -> None:
    outcome = train(settings.with_samples().plus(FP8))
    samples = sorted((outcome.output_dir / "sample").glob("lora_e*.png"))
    assert len(samples) == 2 * 4  # two prompts, before the first step and after three epochs
    assert all(len(set(Image.open(sample).convert("L").tobytes())) > 1 for sample in samples)
    with safe_open(outcome.lora, "pt") as lora:
        assert lora.metadata()["ss_fp8_base"] == "True"


# Dynamo looks at the gradient of what it traces (tests/sd_scripts/compute/test_compilation.py).
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor:UserWarning")
def test_compiled_blocks_compute_the_same(settings: Settings) -> None:
    """Whatever the compiler, the product in 8 bits is one operator of its graph (test_fp8.py tests inductor too)."""
    eager = run(settings.plus(f"{FP8} --max_train_epochs 1", output="eager"))
    compiled = run(
        settings.plus(f"{FP8} --max_train_epochs 1 --compile --compile_backend aot_eager", output="compiled")
    )
    assert (eager.error, compiled.error) == (None, None)
    state = json.loads((settings.folder / "compiled" / "lora-state" / "train_state.json").read_text())
    assert state["choices"]["compile"] == "aot_eager"
    assert compiled.losses == pytest.approx(eager.losses, rel=0.01)


@pytest.mark.parametrize("flags", ["--gradient_checkpointing", "--network_dropout 0.2 --network_train_unet_only"])
def test_an_interrupted_run_ends_like_the_uninterrupted_one(flags: str, settings: Settings, tmp_path: Path) -> None:
    wanted = settings.plus(f"{FP8} {flags}")
    whole = run(wanted.plus("", output="whole"))
    assert (whole.error, whole.status) == (None, None)
    interrupted(wanted.plus("", output="pieces"), whole=whole.steps, stops=[4, 5, 13])
    assert_same_lora(tmp_path / "whole" / "lora.safetensors", tmp_path / "pieces" / "lora.safetensors")
    assert_trained(tmp_path / "whole" / "lora.safetensors")


def test_checkpointing_changes_nothing(settings: Settings, tmp_path: Path) -> None:
    for flags, output in (("", "plain"), ("--gradient_checkpointing", "checkpointed")):
        assert run(settings.plus(f"{FP8} {flags}", output=output)).error is None
    assert_same_lora(tmp_path / "plain" / "lora.safetensors", tmp_path / "checkpointed" / "lora.safetensors")


def test_the_base_is_that_of_the_state(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the flag a run continues in 8 bits, and --replan takes what the command line asks for."""
    loaded: list[str] = []
    load = loading.load_transformer

    def remember(*arguments: object, **keywords: object) -> object:
        flux = load(*arguments, **keywords)
        loaded.append("fp8" if any(isinstance(module, fp8.Fp8Linear) for module in flux.modules()) else "full")
        return flux

    monkeypatch.setattr(loading, "load_transformer", remember)
    short = settings.plus("--mixed_precision bf16 --max_train_epochs 2")
    for flag in ("--fp8_base", "--fp8_base_unet", ""):
        assert run(short.plus(flag, output=f"from{flag}"), stop_after=2).status == 143
    fp8_state, full_state = (
        settings.folder / f"from{flag}" / "lora-step00000002-state" for flag in ("--fp8_base", "")
    )
    assert json.loads((fp8_state / "train_state.json").read_text())["choices"]["base"] == "fp8"
    assert run(short.plus(f"--resume {fp8_state}", output="on")).error is None
    error = run(short.plus(f"--resume {full_state} --fp8_base", output="other")).error
    assert error is not None
    assert "the state was made with base = full, but this run asks for fp8" in error
    assert run(short.plus(f"--resume {full_state} --fp8_base --replan", output="other")).error is None
    assert loaded == ["fp8", "fp8", "full", "fp8", "fp8"]
