# SPDX-License-Identifier: Apache-2.0
"""The trainer's own flags, as `[trainer_options]` and `-o KEY=WORDS` write them: a name and a list of words.

No words: a switch; the one word `false` takes back a switch that is passed by default. Which names there are is the
trainer's matter; here only their form is read.
"""

import math
import shlex
from typing import Any

RIGHT = "true (a switch), false (no switch), a number, a text, or a list of numbers and texts"


def from_toml(value: Any) -> list[str]:
    """The words of a TOML value. ValueError if it has none."""
    if value is True:
        return []
    if value is False:
        return ["false"]
    if isinstance(value, list):
        return [_word(item) for item in value]
    return [_word(value)]


def from_text(text: str) -> tuple[str, list[str]]:
    """Name and words of KEY or KEY=WORDS; words are split as a shell does. ValueError says what would be right."""
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
