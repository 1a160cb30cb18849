# SPDX-License-Identifier: Apache-2.0
"""Parses durations and times of day, as people type them. Pure; times are in the local time zone."""

import re
from datetime import datetime, timedelta

SECONDS = {"d": 86400, "h": 3600, "min": 60, "m": 60, "s": 1}


def duration(text: str) -> float:
    """Seconds, from 90s, 30min, 1h, 1h30min or 2d. ValueError says what would be right."""
    pieces = re.findall(r"(\d+(?:\.\d+)?)\s*(d|h|min|m|s)\s*", text)
    if not pieces or "".join(re.split(r"\s+", text)) != "".join(f"{number}{unit}" for number, unit in pieces):
        raise ValueError(f"{text!r} is not a duration; write 90s, 30min, 1h, 1h30min or 2d.")
    seconds = sum(float(number) * SECONDS[unit] for number, unit in pieces)
    if not seconds:
        raise ValueError(f"{text!r} is zero; give a duration such as 30min.")
    return seconds


def moment(text: str, *, now: float) -> float:
    """Seconds since 1970, from 14:30 (the next one) or 2026-12-24 14:30. ValueError says what would be right."""
    for form in ("%H:%M", "%H:%M:%S"):
        try:
            clock = datetime.strptime(text, form).time()  # noqa: DTZ007 - a local time, as the user reads it
        except ValueError:
            continue
        today = datetime.combine(datetime.fromtimestamp(now).astimezone().date(), clock)
        return min(at for at in (_seconds(today), _seconds(today + timedelta(days=1))) if at > now)
    try:
        return _seconds(datetime.fromisoformat(text))
    except ValueError:
        raise ValueError(f"{text!r} is not a time; write 14:30 or 2026-12-24 14:30.") from None


def _seconds(local: datetime) -> float:
    return local.timestamp()
