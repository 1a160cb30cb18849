# SPDX-License-Identifier: Apache-2.0
"""Lets the rest of the daemon use the event loop while clients keep the server busy.

A client that reads fast enough never makes its stream wait, and hundreds of calls may be ready at once: without
pacing, the scheduler would wait for all of them. Steps that must wait for a later turn are granted in order.
"""

import asyncio
import time
from collections import deque

TURN_SECONDS = 0.005
"""How much of one turn of the loop all clients together may take; the last step may exceed it."""
STEPS = 16
"""How many waiting steps are granted in one turn."""


class Pace:
    def __init__(self) -> None:
        self._began: float | None = None  # when the first client of this turn did its step
        self._waiting: deque[asyncio.Future[None]] = deque()

    async def step(self) -> None:
        """Called before each step of a client's work; returns at once, or in a later turn."""
        late = self._began is not None and time.monotonic() - self._began > TURN_SECONDS
        if late or self._waiting:
            granted = asyncio.get_running_loop().create_future()
            self._waiting.append(granted)
            await granted
        elif self._began is None:
            self._began = time.monotonic()
            asyncio.get_running_loop().call_soon(self._next_turn)

    def _next_turn(self) -> None:
        self._began = None
        for _ in range(min(STEPS, len(self._waiting))):
            granted = self._waiting.popleft()
            if not granted.done():  # its task may have been cancelled
                granted.set_result(None)
        if self._waiting:
            self._began = time.monotonic()
            asyncio.get_running_loop().call_soon(self._next_turn)
