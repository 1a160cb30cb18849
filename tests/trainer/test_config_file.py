# SPDX-License-Identifier: Apache-2.0
"""--config_file gives flags, the command line stands over it, and what is wrong in it is told with its name."""

from __future__ import annotations

from pathlib import Path

import pytest

from library.arguments import parse
from tests.trainer.in_process import run
from tests.trainer.running import Settings
from tests.trainer.test_pure import REQUIRED
from tests.trainer.test_resume import assert_same_lora

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


def test_flags_of_a_file(tmp_path: Path) -> None:
    (tmp_path / "c.toml").write_text(GOOD)
    for name in ("c", "c.toml"):
        options = parse([*REQUIRED.split(), "--config_file", str(tmp_path / name), "--network_dim", "16"])
        assert (options.learning_rate, options.network_dim, options.training_comment) == (1e-3, 16, "-dash")
        assert options.network_args == [("train_blocks", "single"), ("single_dim", "2")]
        assert options.optimizer_args == [("weight_decay", 0.1)]
        assert (options.flip_aug, options.shuffle_caption) == (True, False)


def test_an_empty_list_is_as_if_the_flag_was_not_given(settings: Settings, tmp_path: Path) -> None:
    """As programs write them that make such files; and 0 workers, which sd-scripts takes for none but itself."""
    empty = "network_args = []\noptimizer_args = []\nlr_scheduler_args = []\ntext_encoder_lr = []\n"
    (tmp_path / "c.toml").write_text(empty + "max_data_loader_n_workers = 0\n")
    words = "--max_train_epochs 1 --max_data_loader_n_workers 0"
    plain = run(settings.plus("--max_train_epochs 1", output="plain"))
    assert plain.error is None
    assert run(settings.plus(f"{words} --config_file {tmp_path / 'c.toml'}")).error is None
    one, other = (settings.folder / name / "lora.safetensors" for name in ("plain", "out"))
    assert_same_lora(one, other)


def test_required_flags_may_stand_in_the_file(tmp_path: Path) -> None:
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
        ("deepspeed = true", "--deepspeed is a flag of sd-scripts that this trainer does not have, because"),
        ("flip_aug = 1", "flip_aug = 1 is not true or false"),
        ("network_dim = true", "network_dim = True is not its value"),
        ("network_dim = 0.5", "--network_dim: 0.5 is not a whole number from 1"),
        ("seed = [1, 2]", "seed = [1, 2] is not its value"),
        ("network_args = [[1]]", "network_args = [[1]] is not a value of a flag"),
    ],
)
def test_a_wrong_file(toml: str, sentence: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "c.toml").write_text(toml)
    assert refusal(tmp_path / "c.toml", capsys).count(sentence) == 1


def test_a_file_that_is_not_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert f"--config_file: there is no file {tmp_path / 'gone.toml'}" in refusal(tmp_path / "gone", capsys)


def refusal(path: Path, capsys: pytest.CaptureFixture[str]) -> str:
    with pytest.raises(SystemExit) as left:
        parse([*REQUIRED.split(), "--config_file", str(path)])
    assert left.value.code == 2
    message = capsys.readouterr().err
    assert message.count("\n") == 1
    return message
