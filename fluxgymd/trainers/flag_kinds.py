# SPDX-License-Identifier: Apache-2.0
"""What kind of words each flag of a trainer takes, and whether a job's options are such. Pure.

The rules are argparse's; so is the meaning of `nargs`: None one word, 0 none (a switch), a number so many, `?` at
most one, `+` at least one, `*` any.
"""

import difflib
from collections.abc import Mapping, Sequence
from typing import Literal

import msgspec

from fluxgym.errors import InvalidSetting
from fluxgymd.trainers.kohya import OFF

NUMBERS = {"int": (int, "a whole number"), "float": (float, "a number")}


class Flag(msgspec.Struct, frozen=True):
    """One flag, as describe.py tells it. `choices`: as words, of `number` where that is given."""

    options: list[str]
    nargs: int | str | None
    number: Literal["int", "float"] | None
    choices: list[str] | None


def by_name(flags: Sequence[Flag]) -> dict[str, Flag]:
    """The flags by each of their names, without dashes."""
    return {option[2:]: flag for flag in flags for option in flag.options}


def check(given: Mapping[str, Sequence[str]], flags: Mapping[str, Flag]) -> None:
    """InvalidSetting for the first option that is no flag, or whose words its flag would not take."""
    for name, words in given.items():
        flag = flags.get(name)
        if flag is None:
            near = difflib.get_close_matches(name, flags, n=1)
            hint = f"did you mean {near[0]}?" if near else "see docs/trainer.md for those it has."
            raise InvalidSetting(f"The trainer has no flag --{name}; {hint}", setting=name)
        wrong = None if words == OFF else _wrong_count(name, words, flag) or _wrong_word(words, flag)
        if wrong is not None:
            raise InvalidSetting(f"trainer_options.{name} {wrong}.", setting=name)


def _wrong_count(name: str, words: Sequence[str], flag: Flag) -> str | None:
    least, most = _counts(flag.nargs)
    said = repr(" ".join(words)) if words else "without a value"
    if most == 0 and words:
        return f"is {said}, but --{name} is a switch, which takes no value; give {name} alone"
    if len(words) < least:
        return f"is {said}, but --{name} needs {_values(least)}: {_right(flag)}{' each' if least > 1 else ''}"
    if most is not None and len(words) > most:
        return f"is {said}, but --{name} takes {_values(most)}"
    return None


def _counts(nargs: int | str | None) -> tuple[int, int | None]:
    """The least and the most words; None: no limit."""
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
                return f"is {word!r}, but must be {_right(flag)}"
        if flag.choices is not None and value not in flag.choices:
            return f"is {word!r}, but must be {_right(flag)}"
    return None


def _right(flag: Flag) -> str:
    if flag.choices is not None:
        return f"one of {', '.join(flag.choices)}"
    return NUMBERS[flag.number][1] if flag.number is not None else "a text"
