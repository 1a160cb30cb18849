# SPDX-License-Identifier: Apache-2.0
"""Whole numbers: those that the interface can hold, and a flag's value from 1 on. click's own range type would say
"0 is not in the range x>=1"."""

from typing import Any

import click

INT_LIMIT = 2**63
"""The interface's int is a signed 64-bit integer, so its values are below this."""


def read_count(context: click.Context, parameter: click.Parameter, value: str | None) -> int | None:
    """The callback of a click option. None if the flag was not given."""
    if value is None:
        return None
    if not value.isdecimal() or len(value) > 19 or not 1 <= int(value) < INT_LIMIT:
        flag = parameter.opts[-1]
        raise click.UsageError(f"{flag} is {value!r}, but must be a whole number of at least 1.", context)
    return int(value)


def whole(value: Any) -> int:
    """The value, if it is a whole number that the interface can hold. ValueError."""
    if type(value) is not int or not -INT_LIMIT <= value < INT_LIMIT:
        raise ValueError
    return value
