# SPDX-License-Identifier: Apache-2.0
"""--config_file gives flags, the command line overrides them, and each problem names the flag or the file."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from library.options.arguments import parse
from tests.sd_scripts.command_line import REQUIRED
from tests.sd_scripts.in_process import run
from tests.sd_scripts.outcomes import assert_same_lora
from tests.sd_scripts.running import Settings

GOOD = """
learning_rate = 1e-3
[network]
network_dim = 8
network_args = ["train_blocks=single", "single_dim=2"]
[anything]
flip_aug = true
shuffle_caption = false
training_comment = "-dash"
optimizer_args = ["weight_decay=0.1"]
"""


def test_flags_are_read_from_a_file(tmp_path: Path) -> None:
    (tmp_path / "c.toml").write_text(GOOD)
    for name in ("c", "c.toml"):
        options = parse([*REQUIRED.split(), "--config_file", str(tmp_path / name), "--network_dim", "16"])
        assert (options.learning_rate, options.network_dim, options.training_comment) == (1e-3, 16, "-dash")
        assert options.network_args == [("train_blocks", "single"), ("single_dim", "2")]
        assert options.optimizer_args == [("weight_decay", 0.1)]
        assert (options.flip_aug, options.shuffle_caption) == (True, False)


def test_an_empty_list_counts_as_no_flag(settings: Settings, tmp_path: Path) -> None:
    """Programs that generate such files write empty lists. Also tests 0 workers, with which sd-scripts loads pictures
    in its main process."""
    empty = "network_args = []\noptimizer_args = []\nlr_scheduler_args = []\ntext_encoder_lr = []\n"
    (tmp_path / "c.toml").write_text(empty + "max_data_loader_n_workers = 0\n")
    words = "--max_train_epochs 1 --max_data_loader_n_workers 0"
    plain = run(settings.plus("--max_train_epochs 1", output="plain"))
    assert plain.error is None
    assert run(settings.plus(f"{words} --config_file {tmp_path / 'c.toml'}")).error is None
    one, other = (settings.folder / name / "lora.safetensors" for name in ("plain", "out"))
    assert_same_lora(one, other)


def test_required_flags_may_be_in_the_file(tmp_path: Path) -> None:
    words = REQUIRED.split()
    lines = [f"{name.removeprefix('--')} = '{value}'" for name, value in zip(words[::2], words[1::2], strict=True)]
    (tmp_path / "c.toml").write_text("\n".join(lines))
    assert parse(["--config_file", str(tmp_path / "c.toml")]) == parse(
        [*words, "--config_file", str(tmp_path / "c.toml")]
    )


@pytest.mark.parametrize(
    ("toml", "sentence"),
    [
        ("[a\n", "is not TOML"),
        ("learning_rat = 1", "unknown flag --learning_rat; did you mean --learning_rate?"),
        ("deepspeed = true", "--deepspeed is an sd-scripts flag that this trainer does not support, because"),
        ("flip_aug = 2", "flip_aug = 2 is neither true nor false"),
        ("flip_aug = 'yes'", "flip_aug = 'yes' is neither true nor false"),
        ("network_dim = true", "network_dim = true is not a valid value for this flag"),
        ("network_dim = 0.5", "--network_dim: 0.5 is not a whole number of at least 1"),
        ("seed = [1, 2]", "seed = [1, 2] is a list, but this flag takes a single value"),
        ("network_args = [[1]]", "network_args = [[1]] is not a valid value for a flag"),
    ],
)
def test_a_wrong_file_is_reported(
    toml: str, sentence: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "c.toml").write_text(toml)
    assert refusal(tmp_path / "c.toml", capsys).count(sentence) == 1


EMPTY = """
network_weights = ""
optimizer_type = ""
logging_dir = false
save_every_n_steps = "None"
network_args = []
color_aug = false
ip_noise_gamma = 0.0
dynamo_backend = "no"
random_crop = "false"
"""


def test_a_value_that_requests_nothing_counts_as_left_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "c.toml").write_text(EMPTY)
    file = ["--config_file", str(tmp_path / "c.toml")]
    without = parse(REQUIRED.split())
    assert parse([*REQUIRED.split(), *file]) == dataclasses.replace(without, config_file=tmp_path / "c.toml")
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("value", "on"), [("true", True), ("1", True), ("'True'", True), ("0", False), ("''", False)]
)
def test_switches_are_accepted_as_programs_write_them(value: str, on: bool, tmp_path: Path) -> None:
    (tmp_path / "c.toml").write_text(f"persistent_data_loader_workers = {value}\n")
    options = parse([*REQUIRED.split(), "--config_file", str(tmp_path / "c.toml")])
    assert options.persistent_data_loader_workers is on


def test_a_whole_number_may_have_a_decimal_point(tmp_path: Path) -> None:
    (tmp_path / "c.toml").write_text("network_dim = 8.0\nlr_warmup_steps = 2.0\nlr_scheduler = 'linear'\n")
    options = parse([*REQUIRED.split(), "--config_file", str(tmp_path / "c.toml")])
    assert (options.network_dim, options.lr_warmup_steps) == (8, 2)


def test_an_option_without_effect_on_flux_is_accepted_and_named_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "c.toml").write_text("epoch = 4\nmax_timestep = 1000\nwandb_run_name = 'x'\nnoise_offset = 0.05\n")
    words = "--clip_skip 2 --network_dim 8 --v2"
    options = parse([*REQUIRED.split(), *words.split(), "--config_file", str(tmp_path / "c.toml")])
    assert options.network_dim == 8
    assert capsys.readouterr().err == (
        "warning: these settings have no effect on a Flux LoRA and are ignored: "
        "clip_skip, epoch, max_timestep, noise_offset, v2, wandb_run_name\n"
    )


def test_all_errors_are_reported_at_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "c.toml").write_text("full_bf16 = true\nip_noise_gamma = 0.05\nflip_aug = 'yes'\nlearning_rat = 1\n")
    with pytest.raises(SystemExit) as left:
        parse([*REQUIRED.split(), "--config_file", str(tmp_path / "c.toml")])
    assert left.value.code == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 4
    for name in ("full_bf16", "ip_noise_gamma", "flip_aug", "learning_rat"):
        assert sum(f"{name} " in line or f"{name};" in line for line in lines) == 1, name


def test_a_missing_file_is_reported(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert f"--config_file: there is no file {tmp_path / 'gone.toml'}" in refusal(tmp_path / "gone", capsys)


def refusal(path: Path, capsys: pytest.CaptureFixture[str]) -> str:
    with pytest.raises(SystemExit) as left:
        parse([*REQUIRED.split(), "--config_file", str(path)])
    assert left.value.code == 2
    message = capsys.readouterr().err
    assert message.count("\n") == 1
    return message
