# SPDX-License-Identifier: Apache-2.0
"""Parses TOML that a user wrote, reports every problem with it as one kind of error, and finds a key's line.

tomllib raises RecursionError for deep nesting. For numbers and dates that Python cannot represent (5,000 digits,
month 13) it lets the errors of int() and datetime through, which are not TOMLDecodeErrors.
"""

import re
import tomllib
from typing import Any

_LONG_KEY = re.compile(r"""(?:^|[\[{,])[ \t]*(?:(?:[\w-]+|"[^"\n]*"|'[^'\n]*')[ \t]*\.[ \t]*){64}""", re.MULTILINE)
"""A key with more than 64 parts. tomllib's time grows with the square of their number: 100,000 take minutes."""


class NotToml(ValueError):
    """The TOML cannot be read; the text says why, as a clause that follows the file's name."""


def parse(text: str) -> dict[str, Any]:
    """The tables of a TOML text. NotToml if it cannot be read."""
    if _LONG_KEY.search(text):
        raise NotToml("is not valid TOML: a key has more than 64 parts")
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise NotToml(f"is not valid TOML: {error}") from None
    except RecursionError:
        raise NotToml("is not valid TOML: its values are nested too deeply") from None
    except (ValueError, OverflowError) as error:
        raise NotToml(f"is not valid TOML: a number or a date is out of range ({error})") from None


def line_of(text: str, key: str) -> int:
    """The line on which a dotted key is set; 1 if it is not found. tomllib reports no positions, so this looks for
    the last part below its table's header, for the dotted key on one line, or for the header of a table in a list."""
    table, _, last = key.rpartition(".")
    current = ""
    for number, line in enumerate(text.splitlines(), start=1):
        if header := re.match(r"\s*\[(\[)?([^\[\]]+)\]", line):
            current = header[2].strip()
            if header[1] and current == key:
                return number
        elif assignment := re.match(r"\s*([\w.\"'-]+)\s*=", line):
            name = assignment[1].replace('"', "").replace("'", "")
            if f"{current}.{name}".lstrip(".") == key or (current == table and name == last):
                return number
    return 1
