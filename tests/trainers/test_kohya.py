# SPDX-License-Identifier: Apache-2.0
"""Tests of the trainer's command line: its exact text, whose meaning no name or value can change."""

from pathlib import Path

import msgspec
import pytest

from fluxgymd.trainers import kohya
from fluxgymd.trainers.states import StateWriter
from tests.core.histories import CONTEXT
from tests.trainers.command_lines import changed, lines

GOLDEN = """
--pretrained_model_name_or_path /m/flux.sft
--clip_l /m/clip.safetensors
--t5xxl /m/t5.safetensors
--ae /m/ae.sft
--dataset_config /home/outputs/my-lora/dataset.toml
--output_dir /home/outputs/my-lora
--output_name my-lora
--save_model_as safetensors
--save_precision bf16
--mixed_precision bf16
--gradient_checkpointing
--sdpa
--cache_latents_to_disk
--cache_text_encoder_outputs
--cache_text_encoder_outputs_to_disk
--max_data_loader_n_workers 2
--persistent_data_loader_workers
--network_module networks.lora_flux
--network_dim 4
--optimizer_type adamw
--learning_rate 0.0008
--seed 42
--timestep_sampling shift
--discrete_flow_shift 3.1582
--model_prediction_type raw
--guidance_scale 1
--loss_type l2
--max_train_epochs 16
--save_every_n_epochs 4
--save_state
--save_last_n_epochs_state 3
"""


def test_one_gpu_needs_no_launcher_and_several_are_given_a_process_each() -> None:
    python = Path("/t/bin/python")
    assert kohya.starter(python, gpus=0) == kohya.starter(python, gpus=1) == ["/t/bin/python"]
    several = kohya.starter(python, gpus=4)
    assert several[:3] == ["/t/bin/python", "-m", "accelerate.commands.launch"]
    assert several[several.index("--num_processes") + 1] == "4"


def test_the_command_line_of_the_defaults() -> None:
    assert lines(CONTEXT) == GOLDEN.split("\n")[1:-1]


def test_our_trainer_chooses_how_much_is_checkpointed_unless_the_user_does() -> None:
    flag = "--gradient_checkpointing"
    assert lines(CONTEXT, trainer=StateWriter.OURS) == [line for line in lines(CONTEXT) if line != flag]
    asked = changed(trainer_options={**(CONTEXT.trainer_options or {}), "gradient_checkpointing": []})
    assert flag in lines(asked, trainer=StateWriter.OURS)


def test_optional_settings_follow() -> None:
    assert CONTEXT.model is not None
    context = changed(
        model=msgspec.structs.replace(CONTEXT.model, tokenizers="/m/tokenizers"),
        sample_prompts=["a cat"],
        sample_every_steps=10,
        sample_every_epochs=2,
    )
    assert lines(context, "my-lora-000004-state")[-6:] == [
        "--tokenizer_cache_dir /m/tokenizers",
        "--sample_prompts /home/outputs/my-lora/sample_prompts.txt",
        "--sample_every_n_steps 10",
        "--sample_every_n_epochs 2",
        "--resume /home/outputs/my-lora/my-lora-000004-state",
        "--initial_epoch 5",
    ]


@pytest.mark.parametrize(
    ("resume", "epoch"),
    [
        (None, None),
        ("my-lora-000008-state", "--initial_epoch 9"),
        ("my-lora-000008-state.old", "--initial_epoch 9"),
        ("my-lora-step00000008-state", None),
        ("my-lora-state", None),
    ],
)
def test_promise_5_sd_scripts_is_told_the_epoch_because_its_counter_is_wrong(
    resume: str | None, epoch: str | None
) -> None:
    """Without the flag, sd-scripts would repeat finished epochs after a second resume."""
    assert next((line for line in lines(CONTEXT, resume) if line.startswith("--initial_epoch")), None) == epoch


@pytest.mark.parametrize(("rate", "word"), [(8e-4, "0.0008"), (1e-05, "1e-05"), (0.1 + 0.2, "0.30000000000000004")])
def test_a_number_is_passed_exactly(rate: float, word: str) -> None:
    assert f"--learning_rate {word}" in lines(changed(learning_rate=rate))


@pytest.mark.parametrize(
    ("options", "gone", "there"),
    [
        ({"sdpa": ["false"]}, "--sdpa", None),
        ({"mixed_precision": ["no"]}, "--mixed_precision bf16", "--mixed_precision no"),
        ({"network_alpha": ["8"]}, None, "--network_alpha 8"),
        ({"network_train_unet_only": []}, None, "--network_train_unet_only"),
        (
            {"network_args": ["train_t5xxl=True", "x=false"]},
            None,
            "--network_args train_t5xxl=True x=false",
        ),
        ({"highvram": ["false"]}, None, None),
    ],
)
def test_the_users_options_override_the_defaults(
    options: dict[str, list[str]], gone: str | None, there: str | None
) -> None:
    assert not kohya.refused_options(options)
    expected = [line for line in lines(CONTEXT) if line != gone]
    found = lines(changed(trainer_options=options))
    assert sorted(found) == sorted([*expected, there] if there else expected)


@pytest.mark.parametrize("name", kohya.OURS)
def test_options_that_the_daemon_needs_to_find_the_job_cannot_be_given(name: str) -> None:
    (problem,) = kohya.refused_options({name: ["x"]})
    assert problem.sentence == f"trainer_options.{name} cannot be given; use {kohya.OURS[name]}."
    assert problem.setting == name


def test_every_flag_that_carries_a_setting_is_ours() -> None:
    """A flag that carries a setting must not be overridden, or the job's settings would not describe its training."""
    told = changed(sample_prompts=["a"], sample_every_steps=1, sample_every_epochs=1, epochs=77, network_dim=78)
    by_default = set(lines(CONTEXT))
    assert {line.split()[0][2:] for line in set(lines(told)) - by_default} <= kohya.OURS.keys()


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"net work": []}, "trainer_options.net work is not a valid flag name."),
        ({"--sdpa": []}, "trainer_options.--sdpa is not a valid flag name; write sdpa, without the dashes."),
        ({"--": []}, "trainer_options.-- is not a valid flag name."),
        ({"": []}, "trainer_options. is not a valid flag name."),
        ({"a=b": []}, "trainer_options.a=b is not a valid flag name."),
        ({"network_args": ["a\0b"]}, "trainer_options.network_args contains a NUL character."),
        (
            {"network_args": ["x=1", "--output_dir", "/elsewhere"]},
            "trainer_options.network_args contains '--output_dir'; give each flag as an option of its own.",
        ),
    ],
)
def test_an_option_that_no_command_line_could_carry_is_refused(options: dict[str, list[str]], sentence: str) -> None:
    assert [problem.sentence for problem in kohya.refused_options(options)] == [sentence]


def test_the_prompts_file_has_one_prompt_per_line() -> None:
    prompts = ["a cat", "ein Kätzchen --w 512 --d 1"]
    assert kohya.sample_prompts(changed(sample_prompts=prompts)).decode().splitlines() == prompts
    assert kohya.sample_prompts(CONTEXT) == b""


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"shuffle_caption": []}, ["shuffle_caption"]),
        (
            {"caption_dropout_rate": ["0.1"], "token_warmup_step": ["2"]},
            ["caption_dropout_rate", "token_warmup_step"],
        ),
        ({"caption_dropout_rate": ["0"], "shuffle_caption": ["false"]}, []),
        ({"caption_prefix": ["a photo of"], "enable_wildcard": []}, ["caption_prefix", "enable_wildcard"]),
        ({"shuffle_caption": [], **{key: ["false"] for key in kohya.TEXT_CACHING}}, []),
    ],
)
def test_options_that_change_captions_need_caching_turned_off(
    options: dict[str, list[str]], named: list[str]
) -> None:
    assert [problem.setting for problem in kohya.uncacheable(options)] == named


def test_settings_that_must_be_turned_off_are_named_with_the_option_that_the_job_gave() -> None:
    (problem,) = kohya.uncacheable({"shuffle_caption": [], "cache_text_encoder_outputs": ["false"]})
    assert problem.sentence == (
        "trainer_options.shuffle_caption changes captions at each step, so they can't be encoded once; also set "
        "trainer_options.cache_text_encoder_outputs_to_disk = false."
    )
