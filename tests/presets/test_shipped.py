# SPDX-License-Identifier: Apache-2.0
"""Tests of the presets that come with FluxGym: each value has a reason, both trainers take it, and those for 12, 16
and 20 GB give the older FluxGym's command line."""

import shlex
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from fluxgym.protocol.messages import Context, Preset
from fluxgymd.importing.script import Flags, flags
from fluxgymd.presets import preset
from fluxgymd.presets.shelf import Shelf
from fluxgymd.requests.compose import composed
from fluxgymd.store.home import JobFolder
from fluxgymd.trainers import flag_kinds, kohya, settings
from fluxgymd.trainers.states import StateWriter

SHIPPED = {each.settings.name: each for each in Shelf(Path("/nonexistent")).all()}
RECORDED = Path(__file__).parents[1] / "trainers" / "data" / "sd-scripts-kinds.json"
HOME = Path("/home/fg")
FOLDER = JobFolder(HOME / "outputs" / "my-lora")
JOB = Context(name="my-lora", dataset="/pictures")

COMMON = """
  --pretrained_model_name_or_path "/home/fg/models/unet/flux1-dev.sft"
  --clip_l "/home/fg/models/clip/clip_l.safetensors"
  --t5xxl "/home/fg/models/clip/t5xxl_fp16.safetensors"
  --ae "/home/fg/models/vae/ae.sft"
  --cache_latents_to_disk --save_model_as safetensors --sdpa --persistent_data_loader_workers
  --max_data_loader_n_workers 2 --seed 42 --gradient_checkpointing --mixed_precision bf16 --save_precision bf16
  --network_module networks.lora_flux --network_dim 4 --learning_rate 8e-4
  --cache_text_encoder_outputs --cache_text_encoder_outputs_to_disk --fp8_base --highvram
  --max_train_epochs 16 --save_every_n_epochs 4
  --dataset_config "/home/fg/outputs/my-lora/dataset.toml"
  --output_dir "/home/fg/outputs/my-lora" --output_name my-lora
  --timestep_sampling shift --discrete_flow_shift 3.1582 --model_prediction_type raw --guidance_scale 1.0
  --loss_type l2
"""
ADAFACTOR = """
  --optimizer_type adafactor --optimizer_args "relative_step=False" "scale_parameter=False" "warmup_init=False"
  --lr_scheduler constant_with_warmup --max_grad_norm 0.0
"""
OLDER = {
    "20g": COMMON + "--optimizer_type adamw8bit",
    "16g": COMMON + ADAFACTOR,
    "12g": COMMON + ADAFACTOR + '--split_mode --network_args "train_blocks=single"',
}
"""The flags of the original FluxGym's train.sh after the script's name, by its VRAM setting. The launcher's own
--mixed_precision and the backslash at the end of the file are not among them: a job on one GPU has no launcher."""

STATES: Flags = {"save_state": [], "save_last_n_epochs_state": ["3"]}
"""Added everywhere: a job without states could not be resumed, and without a limit they would fill the disk."""
CORRECTIONS: dict[str, tuple[set[str], Flags]] = {
    "20g": (set(), STATES),
    "16g": (set(), STATES),
    # --split_mode is deprecated: sd-scripts replaces it with --blocks_to_swap 18.
    "12g": ({"split_mode"}, STATES | {"blocks_to_swap": ["18"]}),
}
"""By preset: the flags that are left out, and those that are added."""


def numbered(given: Flags) -> dict[str, list[str | float]]:
    """The words, with numbers as numbers: 8e-4 is 0.0008."""

    def read(word: str) -> str | float:
        try:
            return float(word)
        except ValueError:
            return word

    return {name: [read(word) for word in words] for name, words in given.items()}


@pytest.mark.parametrize("trainer", StateWriter)
@pytest.mark.parametrize("name", OLDER)
def test_the_older_command_line_is_that_of_the_preset(name: str, trainer: StateWriter) -> None:
    older = flags(shlex.split(OLDER[name]))
    job = settings.complete_training(composed(JOB, [SHIPPED[name].settings, JOB]), HOME)
    now = flags(kohya.arguments(job, FOLDER, None, trainer=trainer))
    left_out, added = CORRECTIONS[name]
    assert left_out <= older.keys()
    wanted = {flag: words for flag, words in older.items() if flag not in left_out} | added
    assert numbered(now) == numbered(wanted)


@pytest.mark.parametrize("name", SHIPPED)
def test_each_setting_has_a_reason(name: str) -> None:
    shipped = SHIPPED[name]
    assert shipped.problem is None
    assert shipped.about
    assert shipped.why.keys() == preset.keys(shipped.settings)
    assert all(reason.endswith(".") for reason in shipped.why.values())


def pairs() -> Iterator[tuple[Preset, ...]]:
    for one in SHIPPED.values():
        yield (one,)
        yield from ((one, other) for other in SHIPPED.values() if other is not one)


@pytest.mark.parametrize("presets", list(pairs()), ids=lambda them: "+".join(each.settings.name for each in them))
def test_each_preset_and_pair_gives_a_job_that_both_trainers_take(presets: tuple[Preset, ...]) -> None:
    job = settings.complete_training(composed(JOB, [*(each.settings for each in presets), JOB]), HOME)
    options = job.trainer_options or {}
    assert not kohya.refused_options(options)
    assert not kohya.uncacheable(options)
    theirs = flag_kinds.by_name(msgspec.json.decode(RECORDED.read_bytes(), type=list[flag_kinds.Flag]))
    assert not flag_kinds.problems(options, theirs)
