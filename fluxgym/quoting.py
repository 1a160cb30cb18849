# SPDX-License-Identifier: Apache-2.0
"""Quotes a user's input in error messages at a bounded length, so that a name of a megabyte takes neither the program
nor the reader longer than one of ten letters."""

import difflib
from collections.abc import Iterable

QUOTED = 160
"""The longest text, in characters, that is quoted in full."""
COMPARED = 64
"""The longest name, in characters, that is compared with the known ones, none of which is longer. The time of a
comparison grows with the square of the length."""


def short(text: str) -> str:
    """The text; if it is long, its beginning and its length."""
    return text if len(text) <= QUOTED else f"{text[: QUOTED // 2]}… ({len(text)} characters)"


def hint(name: str, known: Iterable[str], *, otherwise: str) -> str:
    """`did you mean X?` with the known name that is most similar to a wrong one; `otherwise` if none is similar."""
    near = difflib.get_close_matches(name, list(known), n=1) if len(name) <= COMPARED else []
    return f"did you mean {near[0]}?" if near else otherwise
