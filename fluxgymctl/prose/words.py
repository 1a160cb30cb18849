# SPDX-License-Identifier: Apache-2.0
"""Values in a form for people. Pure functions. An absent value is `-`, and one that this version does not know is
`unknown`.
"""

from datetime import datetime

ABSENT = "-"
_UNITS = ("KiB", "MiB", "GiB", "TiB", "PiB")


def text(value: object | None) -> str:
    """Anything that prints as itself."""
    return ABSENT if value is None else str(value)


def size(count: int | None) -> str:
    """Bytes, in the largest binary unit in which the number is at least 1."""
    if count is None:
        return ABSENT
    if count < 1024:
        return f"{count} B"
    power = 1
    # 1023.95 would be written as 1024.0.
    while count / 1024**power >= 1023.95 and power < len(_UNITS):
        power += 1
    return f"{count / 1024**power:.1f} {_UNITS[power - 1]}"


def duration(seconds: float | None) -> str:
    """Seconds, in one or two of the largest units that apply: 45 s, 12 min, 1 h 05 min, 3 d 4 h."""
    if seconds is None:
        return ABSENT
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole} s"
    minutes = round(whole / 60)
    if minutes < 60:
        return f"{minutes} min"
    if minutes < 24 * 60:
        return f"{minutes // 60} h {minutes % 60:02} min"
    hours = round(minutes / 60)
    return f"{hours // 24} d {hours % 24} h"


def age(then: float | None, *, now: float) -> str:
    """How long ago a wall-clock time was, in one unit; 0 s if the clock was set back since."""
    if then is None:
        return ABSENT
    seconds = max(0.0, now - then)
    for limit, divisor, unit in ((60, 1, "s"), (3600, 60, "min"), (48 * 3600, 3600, "h")):
        if seconds < limit:
            return f"{int(seconds // divisor)} {unit}"
    return f"{int(seconds // 86400)} d"


def moment(then: float | None, *, now: float) -> str:
    """A wall-clock time in local time, with the date unless it is today."""
    if then is None:
        return ABSENT
    local = datetime.fromtimestamp(then).astimezone()
    today = datetime.fromtimestamp(now).astimezone().date()
    return local.strftime("%H:%M:%S" if local.date() == today else "%Y-%m-%d %H:%M")


def timestamp(then: float | None) -> str:
    """A wall-clock time in local time, with date and time, always of the same length."""
    if then is None:
        return ABSENT
    return datetime.fromtimestamp(then).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def clock(then: float) -> str:
    """A wall-clock time in local time, without the date."""
    return moment(then, now=then)


def name(value: str) -> str:
    """An enum value of the interface as words."""
    return value.replace("_", " ")


def speed(seconds_per_step: float | None) -> str:
    """Seconds per step or steps per second, whichever number is at least 1."""
    if seconds_per_step is None or seconds_per_step <= 0:
        return ABSENT
    if seconds_per_step >= 1:
        return f"{seconds_per_step:.2f} s/step"
    return f"{1 / seconds_per_step:.2f} steps/s"


def energy(watt_hours: float | None) -> str:
    """Energy in watt hours, or from 1 kWh on in kilowatt hours."""
    if watt_hours is None:
        return ABSENT
    return f"{watt_hours / 1000:.2f} kWh" if watt_hours >= 1000 else f"{watt_hours:.1f} Wh"


def share(done: int | None, total: int | None) -> str:
    """120/400 30%; never 100% before the end."""
    if done is None:
        return ABSENT
    if not total:
        return str(done)
    return f"{done}/{total} {percent(done, total)}%"


def ordinal(number: int | None, total: int | None) -> str:
    """`3 of 16`, for something in progress: `3/16 18%` would say that the third is done."""
    return text(number) if number is None or not total else f"{number} of {total}"


def percent(done: int, total: int) -> int:
    """The percentage, rounded down, so that 100 means all."""
    return 100 * done // total


def signal_name(number: int) -> str:
    """SIGKILL for 9; the number where this machine has no name for it."""
    import signal

    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
