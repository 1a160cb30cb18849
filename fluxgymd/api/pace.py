# SPDX-License-Identifier: Apache-2.0
"""Lets the rest of the daemon have its turn of the event loop while clients keep the server busy.

A client that reads as fast as it is written to never makes a stream wait, and a hundred of them with a message of
1 MiB each are ready at once: without this the scheduler would wait for all of them together.
"""

import asyncio
import time

TURN_SECONDS = 0.005
"""What the clients together may take of one turn of the loop, give or take one step of one of them."""


class Pace:
    def __init__(self) -> None:
        self._began: float | None = None  # when the first client of this turn did its step
        self._next_turn = asyncio.Event()

    async def step(self) -> None:
        """Before each step of a client's work: returns at once, or in the next turn with room for it."""
        while self._began is not None and time.monotonic() - self._began > TURN_SECONDS:
            await self._next_turn.wait()
        if self._began is None:
            self._began = time.monotonic()
            asyncio.get_running_loop().call_soon(self._turn)

    def _turn(self) -> None:
        self._began = None
        self._next_turn.set()
        self._next_turn = asyncio.Event()
