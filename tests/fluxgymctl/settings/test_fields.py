# SPDX-License-Identifier: Apache-2.0
"""The table of fields: complete, with the help of the interface definition."""

from pathlib import Path

import msgspec
import pytest

from fluxgym.errors import FileMissing
from fluxgym.protocol.messages import Context, Model, OpenEnum
from fluxgymctl.settings.fields import _SPELLINGS, LIMITS, MODEL, OPTIONS, Field, _kind, executable, fields, is_switch
from fluxgymd.trainers.settings import MODEL_FILES, TOKENIZERS


def test_each_field_of_a_job_is_in_the_table() -> None:
    plain = [name for name in Context.__struct_fields__ if name not in (MODEL, OPTIONS, LIMITS)]
    assert [field.key for field in fields()] == plain + [f"{MODEL}.{name}" for name in Model.__struct_fields__]


def test_the_help_of_each_model_file_says_where_it_is_searched_for() -> None:
    helps = {field.name: field.help for field in fields() if field.key.startswith(f"{MODEL}.")}
    defaults = {**MODEL_FILES, "tokenizers": TOKENIZERS}
    assert {name: path in helps[name] for name, path in defaults.items()} == dict.fromkeys(helps, True)


def test_no_two_fields_have_the_same_flag() -> None:
    flags = [flag for field in fields() for flag in field.flags]
    assert len(set(flags)) == len(flags)


def test_flags_are_named_after_fields_unless_people_use_another_word() -> None:
    by_key = {field.key: (*field.flags, field.metavar) for field in fields()}
    assert by_key["learning_rate"] == ("--learning-rate", "NUMBER")
    assert by_key["sample_prompts"] == ("--sample-prompts", "--sample-prompt", "TEXT")
    assert by_key["model.clip_l"] == ("--clip-l", "PATH")
    assert by_key["gpu_count"] == ("--gpus", "--gpu-count", "N")
    assert by_key["gpus"] == ("--gpu", "GPU")
    assert by_key["after"] == ("--after", "JOB")


def test_every_spelling_belongs_to_an_existing_field() -> None:
    assert set(_SPELLINGS) <= {field.key for field in fields()}


def test_the_help_of_a_choice_explains_its_words() -> None:
    (kind,) = [field.help for field in fields() if field.key == "kind"]
    assert kind.startswith("What a job does. training: ")
    assert kind.endswith("Default training.")


@pytest.mark.parametrize(
    ("words", "found"),
    [
        ([], []),
        (["/bin/x", "a b", ""], ["/bin/x", "a b", ""]),
        (["./x"], ["/base/x"]),
        (["../x", "./y"], ["/x", "./y"]),
        (["~/x"], ["/home/somebody/x"]),
        (["tool"], ["{path}/tool"]),
    ],
)
def test_a_program_is_found_as_a_shell_would_find_it(
    words: list[str], found: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", "/home/somebody")
    monkeypatch.setenv("PATH", str(tmp_path))
    (tmp_path / "tool").touch(mode=0o755)
    assert executable(words, Path("/base")) == [word.format(path=tmp_path) for word in found]


def test_a_program_that_is_not_on_path_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    (tmp_path / "tool").touch(mode=0o644)
    with pytest.raises(FileMissing, match=r"no program 'tool' on PATH; .*, write \./tool\.$"):
        executable(["tool"], tmp_path)


@pytest.mark.parametrize("field", fields(), ids=lambda field: field.key)
def test_each_field_has_the_help_of_the_interface(field: Field) -> None:
    assert field.help.endswith((".", "]{0,63}."))
    assert "#" not in field.help


def test_the_paths_are_known() -> None:
    assert {field.key for field in fields() if field.metavar == "PATH"} == {
        "dataset",
        *(f"{MODEL}.{name}" for name in Model.__struct_fields__),
    }


def example(field: Field) -> object:
    """A valid value of a switch or of a choice."""
    return field.kind.from_toml(True) if is_switch(field) else field.kind.from_text(field.kind.metavar.split("|")[0])


class Colour(OpenEnum):
    RED = "red"
    DARK_BLUE = "dark_blue"
    UNKNOWN = "unknown"


def test_a_choice_accepts_its_words_but_never_unknown() -> None:
    kind = _kind(Colour)
    assert (kind.right, kind.metavar) == ("one of red, dark_blue", "red|dark_blue")
    assert (
        kind.from_text("dark-blue") is kind.from_text("dark_blue") is kind.from_toml("dark_blue") is Colour.DARK_BLUE
    )
    for wrong in ("unknown", "green", "", 1, True, ["red"]):
        with pytest.raises(ValueError):  # noqa: PT011  the caller writes the message
            kind.from_toml(wrong)


def test_a_switch_takes_only_true_and_false() -> None:
    kind = _kind(bool)
    assert (kind.from_toml(True), kind.from_toml(False)) == (True, False)
    for wrong in (1, 0, "true", None):
        with pytest.raises(ValueError):  # noqa: PT011  the caller writes the message
            kind.from_toml(wrong)


@pytest.mark.parametrize("field", fields(), ids=lambda field: field.key)
def test_a_parsed_value_has_the_type_of_its_field(field: Field) -> None:
    structure: type[msgspec.Struct] = Model if field.key.startswith(MODEL) else Context
    annotation = next(part.type for part in msgspec.structs.fields(structure) if part.name == field.name)
    read = field.kind.from_text("7") if not is_switch(field) and "|" not in field.kind.metavar else example(field)
    assert msgspec.convert([read] if field.repeated else read, annotation, strict=True) in (read, [read])


BY_KEY = {field.key: field for field in fields()}


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("epochs", True),
        ("epochs", 1.0),
        ("epochs", "1"),
        ("epochs", 2**63),
        ("learning_rate", True),
        ("learning_rate", "0.1"),
        ("learning_rate", float("nan")),
        ("learning_rate", float("inf")),
        ("trigger_word", 1),
        ("sample_prompts", "one"),
        ("sample_prompts", [1]),
        ("dataset", 1),
    ],
)
def test_a_value_of_another_type_is_refused(key: str, value: object) -> None:
    with pytest.raises(ValueError):  # noqa: PT011  the caller writes the message
        BY_KEY[key].kind.from_toml(value)


def test_a_whole_number_is_a_number() -> None:
    assert repr(BY_KEY["learning_rate"].kind.from_toml(1)) == "1.0"
