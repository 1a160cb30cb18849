# SPDX-License-Identifier: Apache-2.0
"""Complete trainings with block swap: the LoRA is the same, and the choices made at the start are used again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.sd_scripts.in_process import interrupted, run
from tests.sd_scripts.outcomes import assert_same_lora, assert_trained
from tests.sd_scripts.running import Models, Settings, make_models, make_pictures

# PyTorch's compiler causes this warning when it inspects its inputs.
pytestmark = pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor:UserWarning")


@pytest.fixture(scope="module")
def deep_models(tmp_path_factory: pytest.TempPathFactory) -> Models:
    """Has enough blocks for some to take turns."""
    return make_models(
        tmp_path_factory.mktemp("deep"),
        *("--hidden", "64", "--heads", "2", "--double-blocks", "4", "--single-blocks", "6"),
    )


@pytest.fixture
def deep(deep_models: Models, tmp_path: Path) -> Settings:
    return Settings(models=deep_models, folder=tmp_path, pictures=make_pictures(tmp_path / "pictures", 3))


def choices_of(state: Path) -> dict[str, Any]:
    saved: dict[str, Any] = json.loads((state / "train_state.json").read_text())["choices"]
    return saved


@pytest.mark.parametrize(
    "flags",
    [
        "--mixed_precision bf16 --cpu_offload_checkpointing",
        "--mixed_precision bf16 --fp8_base",
        "--mixed_precision bf16 --compile --compile_backend aot_eager",
    ],
)
def test_a_training_that_swaps_ends_in_the_same_lora_however_often_it_is_interrupted(
    flags: str, deep: Settings
) -> None:
    """With samples, validation, accumulation and CLIP-L: everything else that a run does with the transformer.

    Not in fp32: on a CPU its weights stay mapped from the file, at unaligned addresses, and the last bits of fp32
    products depend on the alignment.
    """
    deep = deep.with_samples().plus(f"--gradient_accumulation_steps 2 --validation_split 0.34 {flags}")
    plain = run(deep.plus("", output="plain"))
    assert (plain.error, plain.status) == (None, None)
    swapping = deep.plus("--blocks_to_swap 2", output="swapped")
    interrupted(swapping, whole=plain.steps, stops=[2, 5])
    assert_trained(swapping.output_dir / "lora.safetensors")
    assert_same_lora(deep.folder / "plain" / "lora.safetensors", swapping.output_dir / "lora.safetensors")
    settled = choices_of(swapping.output_dir / "lora-state")
    assert settled["compile"] == ("aot_eager" if "--compile" in flags else "no")
    # Blocks 0, 1, 2, 4, 5, 7 and 8 take turns.
    assert (settled["blocks_to_swap"], settled["checkpointed_blocks"]) == (2, 9)
    # The first epoch's samples were dropped when the run was stopped.
    plain_samples, swapped_samples = (
        [path.read_bytes() for path in sorted((deep.folder / name / "sample").glob("lora_e00000[23]_*"))]
        for name in ("plain", "swapped")
    )
    assert plain_samples == swapped_samples
    assert len(plain_samples) == 4


def test_a_swapped_run_stays_swapped_without_the_flag(deep: Settings) -> None:
    first = run(deep.plus("--blocks_to_swap 2"), stop_after=3)
    assert first.error is None
    state = deep.output_dir / "lora-step00000003-state"
    other = run(deep.plus(f"--resume {state} --blocks_to_swap 1"))
    assert other.error is not None
    assert "blocks_to_swap = 2, but this run asks for 1" in other.error
    assert run(deep.plus(f"--resume {state}")).error is None
    assert choices_of(deep.output_dir / "lora-state")["blocks_to_swap"] == 2


def test_an_impossible_number_is_refused_before_anything_is_loaded(deep: Settings) -> None:
    outcome = run(deep.plus("--blocks_to_swap 6"))
    assert outcome.error == (
        "--blocks_to_swap 6 takes 3 of 4 double and 6 of 6 single blocks off the GPU, but at least 2 of each must "
        "stay: use at most 4"
    )
    assert not deep.output_dir.exists()


def test_split_mode_swaps_as_many_blocks_as_a_small_model_has(deep: Settings) -> None:
    outcome = run(deep.plus("--split_mode --network_args train_blocks=single --max_train_epochs 1"))
    assert outcome.error is None
    assert choices_of(deep.output_dir / "lora-state")["blocks_to_swap"] == 4
