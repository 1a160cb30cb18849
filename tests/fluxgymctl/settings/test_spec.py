# SPDX-License-Identifier: Apache-2.0
"""Spec files and flags: paths, precedence, and refusals that name the file and the line."""

import os
from pathlib import Path

import pytest

from fluxgym.errors import FileMissing, InvalidSetting
from fluxgym.protocol.messages import Context, Model, Part
from fluxgymctl.settings import spec
from tests.fluxgym.broken_toml import BROKEN

FILE = Path("/specs/demo.toml")

WHOLE = """\
name = "demo"
dataset = "./pictures"
epochs = 8
learning_rate = 2e-3
sample_prompts = ["a cat", "a dog --w 128"]

[model]
transformer = "../models/flux.safetensors"
clip_l = "/abs/clip.safetensors"

[trainer_options]
network_alpha = 16
network_train_unet_only = true
highvram = false
network_args = ["train_blocks=all", "x=1"]

[watchdog_limits]
training_still_seconds = 900
"""


def test_a_complete_spec_file_is_read() -> None:
    assert spec.context(name=None, file=spec.parse(WHOLE, file=FILE), flags={}) == Context(
        name="demo",
        dataset="/specs/pictures",
        epochs=8,
        learning_rate=0.002,
        sample_prompts=["a cat", "a dog --w 128"],
        model=Model(transformer="/models/flux.safetensors", clip_l="/abs/clip.safetensors"),
        trainer_options={
            "network_alpha": ["16"],
            "network_train_unet_only": [],
            "highvram": ["false"],
            "network_args": ["train_blocks=all", "x=1"],
        },
        watchdog_limits={"training_still_seconds": 900.0},
    )


def test_flags_and_the_name_on_the_command_line_override_the_file() -> None:
    flags = {"epochs": 2, "model.clip_l": "/other", "trainer_options.network_alpha": ["1"]}
    job = spec.context(name="mine", file=spec.parse(WHOLE, file=FILE), flags=flags)
    assert (job.name, job.epochs, job.dataset) == ("mine", 2, "/specs/pictures")
    assert job.model == Model(transformer="/models/flux.safetensors", clip_l="/other")
    assert job.trainer_options is not None
    assert job.trainer_options["network_alpha"] == ["1"]
    assert job.trainer_options["network_train_unet_only"] == []


def test_a_program_in_a_spec_file_is_found_beside_the_file() -> None:
    assert spec.parse('program = ["./caption.sh", "./pictures"]', file=FILE) == {
        "program": ["/specs/caption.sh", "./pictures"]
    }


def test_unspecified_settings_are_left_to_the_daemon() -> None:
    assert spec.context(name="a", file={}, flags={}) == Context(name="a")


def test_a_relative_path_in_a_relative_spec_is_below_the_specs_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "specs").mkdir()
    (tmp_path / "specs/a.toml").write_text('dataset = "./x/../pictures"', encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    assert spec.read(Path("specs/a.toml")) == {"dataset": str(tmp_path / "specs/pictures")}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("cats", "cats"),
        ("./cats", "/specs/cats"),
        ("cats/", "/specs/cats"),
        (".", "/specs"),
        ("..", "/"),
        ("/x", "/x"),
    ],
)
def test_a_dataset_without_a_slash_is_the_name_of_a_stored_one(text: str, value: str) -> None:
    assert spec.parse(f'dataset = "{text}"', file=Path("/specs/a.toml")) == {"dataset": value}


def test_a_home_folder_is_expanded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/somebody")
    assert spec.parse('dataset = "~/x"', file=FILE) == {"dataset": "/home/somebody/x"}


def test_a_symlink_stays_what_the_user_wrote(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("/nowhere")
    assert spec.parse('dataset = "./link"', file=tmp_path / "a.toml") == {"dataset": str(tmp_path / "link")}


PARTS = """\
[[parts]]
dataset = "cats"
repeats = 3

[[parts]]
dataset = "../a,b"
regularisation = true
caption = "a cat, grey"
"""


def test_parts_are_tables_with_paths_relative_to_the_file() -> None:
    assert spec.parse(PARTS, file=FILE) == {
        "parts": [
            Part(dataset="cats", repeats=3),
            Part(dataset="/a,b", regularisation=True, caption="a cat, grey"),
        ]
    }


def test_parts_of_one_place_replace_the_dataset_of_another() -> None:
    parts = spec.parse(PARTS, file=FILE)
    job = spec.context(name="a", file=parts, flags={"dataset": "dogs"})
    assert (job.dataset, job.parts) == ("dogs", None)
    job = spec.context(name="a", file={"dataset": "dogs"}, flags=parts)
    assert (job.dataset, job.parts) == (None, parts["parts"])
    job = spec.context(name="a", file={"dataset": "dogs", **parts}, flags={})
    assert (job.dataset, job.parts) == ("dogs", parts["parts"])  # the daemon refuses both


@pytest.mark.parametrize(
    ("text", "line", "says"),
    [
        ('\nepochs = "many"', 2, "epochs is 'many', but must be a whole number."),
        (
            "epochs = 1\n[[parts]]\ndataset = 3",
            2,
            "parts is [{'dataset': 3}], but must be tables [[parts]], each with",
        ),
        ("parts = 3", 1, "parts is 3, but must be tables [[parts]], each with a dataset and, if needed, repeats"),
        ('[[parts]]\ndataset = "a"\nrepeat = 3', 1, "must be tables [[parts]]"),
        ('[[parts]]\ndataset = "a"\nrepeats = true', 1, "must be tables [[parts]]"),
        (f'[[parts]]\ndataset = "a"\nrepeats = 9{"0" * 20}', 1, "must be tables [[parts]]"),
        ('[[parts]]\ndataset = ""', 1, "must be tables [[parts]]"),
        ("[[parts]]\nrepeats = 3", 1, "must be tables [[parts]]"),
        ("epochs = 1.5", 1, "epochs is 1.5, but must be a whole number."),
        ("epochs = 99999999999999999999", 1, "must be a whole number."),
        ("learning_rate = nan", 1, "must be a number."),
        ("name = 5", 1, "name is 5, but must be text in quotes."),
        (f"learning_rate = 9{'0' * 400}", 1, "must be a number."),
        (f"epochs = 9{'0' * 400}", 1, "must be a whole number."),
        (f"[watchdog_limits]\nstep_factor = 9{'0' * 400}", 2, "must be a number from 1 to 1000 (times)."),
        ('dataset = ""', 1, "dataset is '', but must be a path in quotes."),
        ('sample_prompts = "a"', 1, "must be a list of strings in quotes."),
        ('model = "flux"', 1, "model is 'flux', but must be a table, [model]."),
        ("trainer_options = true", 1, "must be a table, [trainer_options]."),
        ("[model]\n\nclip_l = 1", 3, "model.clip_l is 1, but must be a path in quotes."),
        ("[trainer_options]\na = {b = 1}", 2, "trainer_options.a is {'b': 1}, but must be true (a switch),"),
        ("[trainer_options]\nx.y = 1", 2, "must be true (a switch)"),
        ("epoch = 3", 1, "there is no setting epoch; did you mean epochs?"),
        ("epochs = 3\nsave_every_n_epochs = 2", 2, "did you mean save_every_epochs?"),
        ('clip_l = "x"', 1, "did you mean model.clip_l?"),
        ('[model]\nclip = "x"', 2, "there is no setting model.clip; did you mean model.clip_l?"),
        ('epochs = 1\n[models]\nclip_l = "x"', 3, "there is no setting models; did you mean model?"),
        ("watchdog_limits = 5", 1, "watchdog_limits is 5, but must be a table, [watchdog_limits]."),
        ("[watchdog_limits]\nstep_facto = 2", 2, "watchdog_limits.step_facto; did you mean step_factor?"),
        ("[watchdog_limits]\nstep_factor = true", 2, "must be a number from 1 to 1000 (times)."),
        ("[watchdog_limits]\nstep_factor = 0.5", 2, "is 0.5, but must be a number from 1 to 1000 (times)."),
        ('watchdog = "kill"', 1, "watchdog is 'kill', but must be one of off, warn, act."),
        ("qqqq = 1", 1, "there is no setting qqqq; the settings are name,"),
    ],
)
def test_a_wrong_line_is_refused_with_its_place_and_what_would_be_right(text: str, line: int, says: str) -> None:
    with pytest.raises(InvalidSetting) as refusal:
        spec.parse(text, file=FILE)
    assert refusal.value.message.startswith(f"{FILE}, line {line}: ")
    assert says in refusal.value.message
    assert "\n" not in refusal.value.message
    assert refusal.value.exit_status == 2


def test_a_file_that_is_not_toml_is_refused_with_the_line() -> None:
    with pytest.raises(InvalidSetting, match=r"^/specs/demo.toml is not valid TOML: .*line 2"):
        spec.parse("epochs = 1\nepochs = 2\n", file=FILE)


@pytest.mark.parametrize("text", BROKEN.values(), ids=BROKEN)
def test_whatever_breaks_the_parser_is_refused_with_the_file(text: str) -> None:
    with pytest.raises(InvalidSetting, match=r"^/specs/demo.toml is not valid TOML") as refusal:
        spec.parse(text, file=FILE)
    assert "\n" not in refusal.value.message


def test_a_path_with_a_nul_is_refused() -> None:
    with pytest.raises(FileMissing, match=r"'/a\\x00b' contains a NUL character, which no path can"):
        spec.parse(r'dataset = "/a\u0000b"', file=FILE)


def test_a_pipe_is_read_but_not_an_endless_one(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    os.write(writing, b'name = "piped"')
    os.close(writing)
    assert spec.read(Path(f"/proc/self/fd/{reading}")) == {"name": "piped"}
    os.close(reading)
    with pytest.raises(InvalidSetting, match="/dev/zero has more than 4194304 bytes"):
        spec.read(Path("/dev/zero"))


def test_a_file_that_is_not_utf8_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_bytes(b'name = "\xff"')
    with pytest.raises(InvalidSetting, match="is not UTF-8 at byte 8"):
        spec.read(tmp_path / "a.toml")


@pytest.mark.parametrize("name", ["missing.toml", "."])
def test_a_missing_spec_file_is_reported(tmp_path: Path, name: str) -> None:
    with pytest.raises(FileMissing, match=r"cannot be read: (No such file or directory|Is a directory)\."):
        spec.read(tmp_path / name)


def test_a_job_without_a_name_is_refused_with_advice() -> None:
    with pytest.raises(InvalidSetting, match="fluxgymctl submit NAME"):
        spec.context(name=None, file={"epochs": 1}, flags={})
