# SPDX-License-Identifier: Apache-2.0
"""What a person can put right is a `TrainerError`: one sentence, no traceback. Anything else is a fault of ours."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

EXIT_BAD_INPUT = 1
EXIT_BAD_COMMAND_LINE = 2


class TrainerError(Exception):
    """One sentence: what is wrong, where, and what would be right. The exit status is 1."""


def nearest(name: str, choices: Iterable[str]) -> str:
    """`; did you mean X?` with the choice nearest to `name`, or nothing where none is near."""
    found = difflib.get_close_matches(name, list(choices), n=1, cutoff=0.6)
    return f"; did you mean {found[0]}?" if found else ""
