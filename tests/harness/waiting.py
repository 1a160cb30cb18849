# SPDX-License-Identifier: Apache-2.0
"""Waits for a condition with a deadline. This is the one place in the tests that may sleep."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")

POLL_SECONDS = 0.02
DEADLINE_SECONDS = 240.0
"""It bounds a hang, and no machine is too slow for it: a test that passes never waits so long."""


def until(condition: Callable[[], T | None], *, what: str, deadline_seconds: float = DEADLINE_SECONDS) -> T:
    """Returns the first true value of `condition()`.

    Raises AssertionError that names `what` was waited for and the last value seen, once the deadline has passed.
    """
    end = time.monotonic() + deadline_seconds
    while not (value := condition()):
        _check(end, what=what, deadline_seconds=deadline_seconds, value=value)
        time.sleep(POLL_SECONDS)
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


def _check(end: float, *, what: str, deadline_seconds: float, value: object) -> None:
    if time.monotonic() > end:
        raise AssertionError(f"waited {deadline_seconds:g} s for {what}; last seen: {value!r}")
