# SPDX-License-Identifier: Apache-2.0
"""Tests of which values a flag takes: argparse itself decides, and the error says what would be right."""

import argparse
import re
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fluxgymd.store.home import JobFolder
from fluxgymd.trainers import kohya
from fluxgymd.trainers.describe import described
from fluxgymd.trainers.flag_kinds import MOST, Flag, by_name, problems
from fluxgymd.trainers.states import StateWriter
from tests.core.histories import CONTEXT

DATA = Path(__file__).parent / "data"


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(allow_abbrev=False, exit_on_error=False)
    made.add_argument("--switch", action="store_true")
    made.add_argument("--off", action="store_false")
    made.add_argument("--keep", "--no_lose", action=argparse.BooleanOptionalAction)
    made.add_argument("--text", "-t")
    made.add_argument("--count", type=int)
    made.add_argument("--rate", "--lr", type=float)
    made.add_argument("--own", type=lambda text: text.upper())
    made.add_argument("--choice", choices=["l1", "l2", None])
    made.add_argument("--stage", type=int, choices=[0, 1, 2])
    made.add_argument("--perhaps", nargs="?", type=int)
    made.add_argument("--pair", nargs=2, type=int)
    made.add_argument("--some", nargs="+", type=float)
    made.add_argument("--any", nargs="*")
    return made


def flags_of(made: argparse.ArgumentParser) -> dict[str, Flag]:
    return by_name([msgspec.convert(described(action), Flag) for action in made._actions])


FLAGS = flags_of(parser())
# The output of describe.py for flux_train_network.py of kohya-ss/sd-scripts at 48d368f.
SD_SCRIPTS = by_name(msgspec.json.decode((DATA / "sd-scripts-kinds.json").read_bytes(), type=list[Flag]))
WORDS = st.lists(st.sampled_from(["1", "2", "3", "0", "-1", "1.5", "1e3", "l1", "x", "true", "nan", ""]), max_size=3)


@given(st.sampled_from(sorted(FLAGS.keys() - {"help"})), WORDS)
def test_words_are_refused_if_argparse_refuses_them(name: str, words: list[str]) -> None:
    try:
        left = parser().parse_known_args([f"--{name}", *words])[1]
        right = not left
    except argparse.ArgumentError:
        right = False
    if right:
        assert not problems({name: words}, FLAGS)
    else:
        (refusal,) = problems({name: words}, FLAGS)
        assert refusal.setting == name


def test_choices_of_converted_values_are_left_to_the_trainer() -> None:
    made = argparse.ArgumentParser()
    made.add_argument("--level", type=lambda text: text.lower(), choices=["low", "high"])
    assert not problems({"level": ["LOW"]}, flags_of(made))


@pytest.mark.parametrize(
    ("name", "words", "sentence"),
    [
        ("switch", "true", "is 'true', but --switch is a switch, which takes no value; give switch alone."),
        ("rate", "", "is without a value, but --rate needs one value: a number."),
        ("lr", "high", "is 'high', but must be a number."),
        ("count", "1.5", "is '1.5', but must be a whole number."),
        ("count", "1 2", "is '1 2', but --count takes one value."),
        ("text", "", "is without a value, but --text needs one value: text."),
        ("choice", "l3", "is 'l3', but must be one of l1, l2."),
        ("stage", "7", "is '7', but must be one of 0, 1, 2."),
        ("pair", "1", "is '1', but --pair needs 2 values: a whole number each."),
        ("some", "1 x", "is 'x', but must be a number."),
    ],
)
def test_the_sentence_names_the_option_its_value_and_what_would_be_right(
    name: str, words: str, sentence: str
) -> None:
    (refusal,) = problems({name: words.split()}, FLAGS)
    assert refusal.sentence == f"trainer_options.{name} {sentence}"


@pytest.mark.parametrize("name", ["switch", "rate", "choice", "pair"])
def test_false_leaves_any_flag_out(name: str) -> None:
    assert not problems({name: ["false"]}, FLAGS)


def test_an_unknown_flag_is_reported_with_the_nearest_one_or_where_all_are_listed() -> None:
    (refusal,) = problems({"swich": []}, FLAGS)
    assert re.search(r"^The trainer has no flag --swich; did you mean switch\?$", refusal.sentence)
    (refusal,) = problems({"zzz": ["false"]}, FLAGS)
    assert re.search(r"^The trainer has no flag --zzz; see docs/trainer\.md .*\.$", refusal.sentence)


def test_sd_scripts_accepts_what_the_daemon_passes() -> None:
    line = kohya.arguments(
        CONTEXT, JobFolder(Path("/outputs/my-lora")), "a-000004-state", trainer=StateWriter.SD_SCRIPTS
    )
    passed: dict[str, list[str]] = {}
    for word in line:
        if word.startswith("--"):
            name = word.removeprefix("--")
        passed.setdefault(name, []).extend([] if word.startswith("--") else [word])
    assert not problems(passed, SD_SCRIPTS)


@pytest.mark.parametrize(
    ("name", "words", "sentence"),
    [
        ("fp8_base", ["true"], "--fp8_base is a switch"),
        ("loss_type", ["l3"], "must be one of l1, l2, huber, smooth_l1"),
        ("network_alpha", ["high"], "must be a number"),
        ("blocks_to_swap", ["1.5"], "must be a whole number"),
        ("optimizer_type", [], "--optimizer_type needs one value"),
        ("text_encoder_lr", ["1e-4", "fast"], "is 'fast', but must be a number"),
        ("vram", ["16"], "The trainer has no flag --vram"),
    ],
)
def test_what_sd_scripts_would_refuse_is_refused(name: str, words: list[str], sentence: str) -> None:
    (refusal,) = problems({name: words}, SD_SCRIPTS)
    assert re.search(sentence, refusal.sentence)


def test_only_the_first_of_many_wrong_options_are_reported_and_long_ones_are_shortened() -> None:
    flags = flags_of(parser())
    *found, more = problems({f"rat{number}": [] for number in range(20_000)}, flags)
    assert [problem.setting for problem in found] == [f"rat{number}" for number in range(MOST)]
    assert more.sentence == "There are more invalid options; correct these first."
    assert len(problems({f"rat{number}": [] for number in range(MOST)}, flags)) == MOST
    (long,) = problems({"rate": ["x" * 100_000]}, flags)
    assert len(long.sentence) < 300
