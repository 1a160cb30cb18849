# SPDX-License-Identifier: Apache-2.0
"""The words that each flag of a trainer takes, and a check of a job's options against them. Pure.

The rules are argparse's, and so is the meaning of `nargs`: None is one word, 0 none (a switch), a number that many,
`?` at most one, `+` at least one, `*` any number.
"""

from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Literal

import msgspec

from fluxgym.quoting import hint, short
from fluxgymd.trainers.dataset_toml import OFF
from fluxgymd.trainers.port import Problem, ProblemKind

MOST = 20
"""The most wrong options that are reported for one job: comparing an unknown name with all flags takes milliseconds.
"""
NUMBERS = {"int": (int, "a whole number"), "float": (float, "a number")}


class Flag(msgspec.Struct, frozen=True):
    """One flag, as describe.py reports it. `choices`: as words; numbers if `number` is set. `supported`: choices that
    the trainer's own code checks. `default`: as words."""

    options: list[str]
    nargs: int | str | None
    number: Literal["int", "float"] | None
    choices: list[str] | None
    supported: list[str] | None = None
    type: Literal["switch", "int", "float", "path", "text"] = "text"
    help: str | None = None
    default: list[str] | None = None
    group: str | None = None


def by_name(flags: Sequence[Flag]) -> dict[str, Flag]:
    """The flags by name, without dashes. A flag with several names is there under each."""
    return {option[2:]: flag for flag in flags for option in flag.options}


def problems(given: Mapping[str, Sequence[str]], flags: Mapping[str, Flag]) -> list[Problem]:
    """A problem for each of the first MOST options that are unknown or have words that their flag does not take.
    `flags`: empty if the trainer does not say which flags it has; then there are no problems."""
    found = ((name, _sentence(name, words, flags)) for name, words in given.items()) if flags else ()
    wrong = (
        Problem(kind=ProblemKind.COMMAND_LINE, setting=short(name), sentence=sentence)
        for name, sentence in found
        if sentence is not None
    )
    told = list(islice(wrong, MOST))
    if next(wrong, None) is not None:
        more = "There are more invalid options; correct these first."
        told.append(Problem(kind=ProblemKind.COMMAND_LINE, setting=None, sentence=more))
    return told


ACCEPTED = "accepted; "
"""How our trainer's help begins for a flag that it takes from others' command lines. The reason follows."""


def without_effect(given: Mapping[str, Sequence[str]], flags: Mapping[str, Flag]) -> list[Problem]:
    """A warning for each option that the trainer takes and ignores."""
    return [
        Problem(
            kind=ProblemKind.COMMAND_LINE,
            setting=name,
            sentence=f"trainer_options.{name} has no effect: {(flags[name].help or '').removeprefix(ACCEPTED)}.",
        )
        for name, words in given.items()
        if words != OFF and name in flags and (flags[name].help or "").startswith(ACCEPTED)
    ]


def _sentence(name: str, words: Sequence[str], flags: Mapping[str, Flag]) -> str | None:
    flag = flags.get(name)
    if flag is None:
        meant = hint(name, flags, otherwise="see docs/trainer.md for its flags.")
        return f"The trainer has no flag --{short(name)}; {meant}"
    wrong = None if words == OFF else _wrong_count(name, words, flag) or _wrong_word(words, flag)
    return f"trainer_options.{name} {wrong}." if wrong is not None else None


def _wrong_count(name: str, words: Sequence[str], flag: Flag) -> str | None:
    least, most = counts(flag.nargs)
    said = repr(short(" ".join(words))) if words else "without a value"
    if most == 0 and words:
        return f"is {said}, but --{name} is a switch, which takes no value; give {name} alone"
    if len(words) < least:
        return f"is {said}, but --{name} needs {_values(least)}: {_right(flag)}{' each' if least > 1 else ''}"
    if most is not None and len(words) > most:
        return f"is {said}, but --{name} takes {_values(most)}"
    return None


def counts(nargs: int | str | None) -> tuple[int, int | None]:
    """The smallest and the largest number of words; None if there is no upper limit."""
    match nargs:
        case int():
            return nargs, nargs
        case None:
            return 1, 1
        case "?":
            return 0, 1
        case "+":
            return 1, None
        case _:
            return 0, None


def _values(count: int) -> str:
    return "one value" if count == 1 else f"{count} values"


def _wrong_word(words: Sequence[str], flag: Flag) -> str | None:
    for word in words:
        value = word
        if flag.number is not None:
            try:
                value = str(NUMBERS[flag.number][0](word))
            except ValueError:
                return f"is {short(word)!r}, but must be {_right(flag)}"
        if flag.choices is not None and value not in flag.choices:
            return f"is {short(word)!r}, but must be {_right(flag)}"
    return None


def _right(flag: Flag) -> str:
    if flag.choices is not None:
        return f"one of {', '.join(flag.choices)}"
    return NUMBERS[flag.number][1] if flag.number is not None else "text"
