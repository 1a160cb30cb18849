# SPDX-License-Identifier: Apache-2.0
"""The trainer's own flags, as they are written in `[trainer_options]` and `-o KEY=WORDS`: a name and a list of words.

A switch has no words. The single word `false` takes back a flag that is passed by default. Only the form is checked
here: the trainer knows which flags it has.
"""

import math
import shlex
from collections.abc import Sequence
from typing import Any

RIGHT = "true (a switch), false (no switch), a number, a string, or a list of numbers and strings"


def from_toml(value: Any) -> list[str]:
    """The words of a TOML value. ValueError if it cannot be written as words."""
    if value is True:
        return []
    if value is False:
        return ["false"]
    if isinstance(value, list):
        return [_word(item) for item in value]
    return [_word(value)]


def from_text(text: str) -> tuple[str, list[str]]:
    """The name and the words of KEY or KEY=WORDS, split as in a shell. ValueError says what would be right."""
    name, equals, rest = text.partition("=")
    try:
        words = shlex.split(rest)
    except ValueError as error:
        raise ValueError(f"{text!r} cannot be split into words: {error}") from None
    if not name:
        raise ValueError(f"{text!r} has no name; write KEY=WORDS, or KEY for a switch")
    if equals and not words:
        raise ValueError(f"{text!r} has no words after '='; write {name} for a switch")
    return name, words


def _word(value: Any) -> str:
    if isinstance(value, str):
        return value
    if type(value) is int or (isinstance(value, float) and math.isfinite(value)):
        return repr(value)
    raise ValueError


def to_toml(words: Sequence[str]) -> bool | str | list[str]:
    """The TOML value of these words, which from_toml turns into the same words."""
    if list(words) == ["false"]:
        return False
    if len(words) == 1:
        return words[0]
    return list(words) or True
