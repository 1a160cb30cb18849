# SPDX-License-Identifier: Apache-2.0
"""Lets the rest of the daemon have its turn of the event loop while clients keep the server busy.

A client that reads as fast as it is written to never makes a stream wait, and hundreds of calls may be ready at once:
without this the scheduler would wait for all of them together. Those who wait for a later turn come in their order.
"""

import asyncio
import time
from collections import deque

TURN_SECONDS = 0.005
"""What the clients together may take of one turn of the loop, give or take a step."""
STEPS = 16
"""That are granted to those who waited, in one turn."""


class Pace:
    def __init__(self) -> None:
        self._began: float | None = None  # when the first client of this turn did its step
        self._waiting: deque[asyncio.Future[None]] = deque()

    async def step(self) -> None:
        """Before each step of a client's work: returns at once, or in a later turn."""
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
