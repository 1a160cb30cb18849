# SPDX-License-Identifier: Apache-2.0
"""Waits for conditions, with a deadline. No other place in the tests may sleep."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable
from typing import NoReturn, TypeVar

T = TypeVar("T")

POLL_SECONDS = 0.02
LONGEST_PAUSE_SECONDS = 0.1
PAUSE_SHARE = 0.02
"""A wait that has lasted long looks less often, since its looks keep the processes that it waits for from working."""
DEADLINE_SECONDS = 600.0
"""A bound for hangs, with room for the slowest machine: a test that passes never waits this long."""
BUILD_SECONDS = 900.0
"""The same for installing, building or checking a complete tree, which may also wait for a network."""


def until(
    condition: Callable[[], T | None],
    *,
    what: str,
    deadline_seconds: float = DEADLINE_SECONDS,
    longest_pause: float = LONGEST_PAUSE_SECONDS,
) -> T:
    """Returns the first true value of `condition()`. `longest_pause`: the most seconds between two looks.

    Once the deadline has passed, raises AssertionError with `what` and the last value seen.
    """
    begun = time.monotonic()
    while not (value := condition()):
        waited = time.monotonic() - begun
        _check(begun + deadline_seconds, what=what, deadline_seconds=deadline_seconds, value=value)
        time.sleep(min(max(POLL_SECONDS, PAUSE_SHARE * waited), longest_pause))
    return value


async def until_async(
    condition: Callable[[], Awaitable[T | None]], *, what: str, deadline_seconds: float = DEADLINE_SECONDS
) -> T:
    """As `until`, for a condition that is awaited."""
    end = time.monotonic() + deadline_seconds
    while not (value := await condition()):
        _check(end, what=what, deadline_seconds=deadline_seconds, value=value)
        await asyncio.sleep(POLL_SECONDS)
    return value


def join(thread: threading.Thread) -> None:
    """Waits for the thread to end. Unlike `Thread.join(timeout)`, fails if it is still running at the deadline."""
    thread.join(timeout=DEADLINE_SECONDS)
    assert not thread.is_alive(), f"{thread.name} still runs after {DEADLINE_SECONDS:g} s"


async def forever() -> NoReturn:
    """Stands in for a task that hangs: waits until it is cancelled. The surrounding test sets the deadline."""
    while True:
        await asyncio.get_running_loop().create_future()


def _check(end: float, *, what: str, deadline_seconds: float, value: object) -> None:
    if time.monotonic() > end:
        raise AssertionError(f"waited {deadline_seconds:g} s for {what}; last seen: {value!r}")
