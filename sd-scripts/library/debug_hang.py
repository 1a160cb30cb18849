# SPDX-License-Identifier: Apache-2.0
"""`--debug_hang KIND@PLACE[:N]`: hangs on purpose, so that whoever watches a training can be tried on a real hang.

Nothing happens unless the flag is given. With `--debug_hang_once FILE` the hang makes that file first, and where the
file is there it does not hang: a run that is resumed goes on. The names of the functions stand in the stacks.
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
    """A lock that its holder waits for."""
    lock = threading.Lock()
    with lock:
        lock.acquire()


def spin() -> NoReturn:
    """A loop that never ends, at full load."""
    while True:
        pass


def stop() -> None:
    """SIGSTOP to itself; after a SIGCONT the training goes on."""
    os.kill(os.getpid(), signal.SIGSTOP)


def write() -> None:
    """A write to a pipe that nobody reads."""
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
    """Where it hangs, and how. `number`: the step in batches and training, elsewhere the pass through the place."""

    kind: str
    place: str
    number: int


def hang_point(text: str) -> HangPoint:
    """`KIND@PLACE[:N]`; N is 1 if it is not given."""
    kind, _, where = text.partition("@")
    place, separator, number = where.partition(":")
    whole = number.isascii() and number.isdigit() and int(number) > 0 if separator else True
    if kind not in KINDS or place not in PLACES or not whole:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not KIND@PLACE[:N] with one of {', '.join(KINDS)} at one of {', '.join(PLACES)}"
        )
    return HangPoint(kind=kind, place=place, number=int(number) if separator else 1)


class _Armed:
    """What `arm` was told, and how often each place was passed."""

    def __init__(self) -> None:
        self.point: HangPoint | None = None
        self.once: Path | None = None
        self.before: Callable[[], None] = lambda: None
        self.passes: collections.Counter[str] = collections.Counter()


_armed = _Armed()


def arm(point: HangPoint | None, *, once: Path | None, before: Callable[[], None]) -> None:
    """From now on `here` hangs at this point. `before` is called right before: what is told late is told then."""
    _armed.point, _armed.once, _armed.before = point, once, before
    _armed.passes.clear()


def here(place: str, number: int | None = None) -> None:
    """Hangs if this is the point. `number`: the step; where there is none the passes are counted."""
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
