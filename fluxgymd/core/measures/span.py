# SPDX-License-Identifier: Apache-2.0
"""Formats a length of time. Pure."""


def span(seconds: float) -> str:
    """A time in its two largest units: 45 s, 7 min 30 s, 2 h 5 min."""
    seconds = max(0.0, seconds)
    whole = round(seconds)
    for large, unit, small, below in ((3600, "h", 60, "min"), (60, "min", 1, "s")):
        if whole >= large:
            rest = whole % large // small
            return f"{whole // large} {unit} {rest} {below}" if rest else f"{whole // large} {unit}"
    return f"{whole} s" if seconds >= 10 else f"{f'{seconds:.1f}'.removesuffix('.0')} s"
