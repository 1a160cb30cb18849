# SPDX-License-Identifier: Apache-2.0
"""What the value of a setting may be. Each function, or the one that it returns, reads a TOML value or a variable's
text; ValueError says what would be right."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any


def path(value: Any) -> Path:
    """An absolute path."""
    if not isinstance(value, str) or not value:
        raise ValueError("a path in quotes")
    if "\0" in value:
        raise ValueError("a path without a NUL character")
    try:
        expanded = Path(value).expanduser()
    except RuntimeError:  # pathlib raises it for an unknown ~user
        raise ValueError("a path; there is no such user") from None
    try:
        return Path(os.path.abspath(expanded))
    except FileNotFoundError:
        raise ValueError("an absolute path, since the current folder was deleted") from None


def choice(*choices: str) -> Callable[[Any], str]:
    """One of these words."""

    def parse(value: Any) -> str:
        if value not in choices:
            raise ValueError("one of " + ", ".join(choices))
        return str(value)

    return parse


def number(low: float, high: float, unit: str) -> Callable[[Any], float]:
    """A number in this range. `unit`: for the sentence."""

    def parse(value: Any) -> float:
        try:
            found = float(value) if not isinstance(value, bool) else None
        except (TypeError, ValueError, OverflowError):  # OverflowError: an integer too large for a float
            found = None
        if found is None or not low <= found <= high:
            raise ValueError(f"a number from {low:g} to {high:g} ({unit})")
        return found

    return parse


def whole_number(low: int, high: int) -> Callable[[Any], int]:
    """A whole number in this range, from 0 on."""

    def parse(value: Any) -> int:
        text = str(value)
        digits = not isinstance(value, bool) and text.isascii() and text.isdigit() and len(text) < 20
        if not digits or not low <= int(text) <= high:
            raise ValueError(f"a whole number from {low} to {high}")
        return int(text)

    return parse
