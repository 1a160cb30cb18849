# SPDX-License-Identifier: Apache-2.0
"""`--debug_hang KIND@PLACE[:N]` makes the trainer hang on purpose, so that a watchdog can be tested on a real hang.

Without the flag nothing happens. With `--debug_hang_once FILE`, the trainer creates that file before it hangs, and
does not hang if the file exists, so a resumed run continues. The functions' names appear in the stack traces.
"""

from __future__ import annotations

import argparse
import collections
import os
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

PLACES = ("loading", "caching", "batches", "training", "sampling", "saving")
A_LONG_TIME = 10**8
MORE_THAN_A_PIPE_HOLDS = 1 << 21


def deadlock() -> None:
    """Waits for a lock that this thread holds itself."""
    lock = threading.Lock()
    with lock:
        lock.acquire()


def spin() -> NoReturn:
    """Loops forever at full load."""
    while True:
        pass


def stop() -> None:
    """Stops the process with SIGSTOP. After a SIGCONT the training continues."""
    os.kill(os.getpid(), signal.SIGSTOP)


def write() -> None:
    """Writes to a pipe that nobody reads."""
    _, writing = os.pipe()
    os.write(writing, bytes(MORE_THAN_A_PIPE_HOLDS))


def sleep() -> None:
    time.sleep(A_LONG_TIME)


KINDS: dict[str, Callable[[], None]] = {
    "deadlock": deadlock,
    "spin": spin,
    "stop": stop,
    "write": write,
    "sleep": sleep,
}


@dataclass(frozen=True, kw_only=True)
class HangPoint:
    """How and where the trainer hangs. `number`: the step in batches and training; elsewhere, at which pass through
    the place, counted from 1."""

    kind: str
    place: str
    number: int


def hang_point(text: str) -> HangPoint:
    """Parses `KIND@PLACE[:N]`, where N defaults to 1. Raises argparse.ArgumentTypeError."""
    kind, _, where = text.partition("@")
    place, separator, number = where.partition(":")
    whole = number.isascii() and number.isdigit() and int(number) > 0 if separator else True
    if kind not in KINDS or place not in PLACES or not whole:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not KIND@PLACE[:N], where KIND is one of {', '.join(KINDS)} and PLACE is one of "
            f"{', '.join(PLACES)}"
        )
    return HangPoint(kind=kind, place=place, number=int(number) if separator else 1)


class _Armed:
    """The arguments of `arm`, and how often each place was passed."""

    def __init__(self) -> None:
        self.point: HangPoint | None = None
        self.once: Path | None = None
        self.before: Callable[[], None] = lambda: None
        self.passes: collections.Counter[str] = collections.Counter()


_armed = _Armed()


def arm(point: HangPoint | None, *, once: Path | None, before: Callable[[], None]) -> None:
    """Makes `here` hang at this point. `before` is called right before the hang, to write out pending progress."""
    _armed.point, _armed.once, _armed.before = point, once, before
    _armed.passes.clear()


def here(place: str, number: int | None = None) -> None:
    """Hangs if this is the point. `number`: the step; without it, the passes are counted."""
    point = _armed.point
    if point is None or point.place != place:
        return
    _armed.passes[place] += 1
    if point.number == (_armed.passes[place] if number is None else number) and _first_time():
        _armed.before()
        KINDS[point.kind]()


def _first_time() -> bool:
    if _armed.once is None:
        return True
    try:
        _armed.once.touch(exist_ok=False)
    except FileExistsError:
        return False
    return True
