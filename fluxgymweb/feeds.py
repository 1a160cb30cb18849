# SPDX-License-Identifier: Apache-2.0
"""One stream from the daemon for all pages: its present state by key, in the order of the changes.

A page holds only the number of the last change that it has seen, so a slow page gets fewer, newer states and costs no
memory. A feed keeps its stream for a while after its last page has gone, since pages reload.
"""

import asyncio
import secrets
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import aclosing, contextmanager
from typing import Any

import msgspec

from fluxgym.errors import FluxgymError
from fluxgym.protocol.async_client import AsyncClient
from fluxgym.protocol.methods import Method
from fluxgymweb import answers
from fluxgymweb.outbox import FRAME_BYTES, PAUSE_SECONDS

IDLE_SECONDS = 60.0

Entry = tuple[str, Any] | None
"""A key and its new value, None for a removed key; no entry at all means that the present state is complete."""


class Changes(msgspec.Struct):
    """What is new for a page, and its place after it."""

    reset: bool
    complete: bool
    values: list[msgspec.Raw]
    removed: list[str]
    place: str


class Feed:
    """The state that a method like Watch reports. `entry` parses a reply."""

    def __init__(
        self, client: AsyncClient, method: Method[Any, Any], parameters: Any, entry: Callable[[Any], Entry]
    ) -> None:
        self._replies: Callable[[], AsyncGenerator[Any, None]] = lambda: client.lasting(
            method, lambda: parameters, away=self._tell
        )
        self._entry = entry
        self._instance = secrets.token_hex(4)
        self._number = 0
        self._values: dict[str, tuple[int, bytes | None]] = {}
        self._readers = 0
        self._task: asyncio.Task[None] | None = None
        self._idle: asyncio.TimerHandle | None = None
        self.complete = False
        self.problem: dict[str, Any] | None = None
        """The error of the last attempt to reach the daemon; None while it answers."""
        self.news = asyncio.Event()
        """Is set, and replaced by another, at each change of anything."""

    async def read(self, place: str = "") -> AsyncGenerator[Changes, None]:
        """The changes since a place, or the present state and its changes, without end."""
        instance, _, number = place.partition(".")
        reset = instance != self._instance or not number.isdecimal() or int(number) > self._number
        seen = 0 if reset else int(number)
        told = False  # that nothing is missing
        with self.used():
            while True:
                news = self.news
                values, removed, seen = self._after(seen)
                complete = self.complete and seen == self._number
                if values or removed or (complete and not told):
                    told = told or complete
                    yield Changes(reset, told, values, removed, f"{self._instance}.{seen}")
                    reset = False
                    await asyncio.sleep(PAUSE_SECONDS)
                if seen == self._number:
                    await news.wait()

    @contextmanager
    def used(self) -> Iterator[None]:
        """Keeps the stream while somebody reads."""
        self._readers += 1
        self.use()
        try:
            yield
        finally:
            self._readers -= 1
            self.use()

    def use(self) -> None:
        """Keeps the stream for as long as somebody reads, and for a while after this call."""
        if self._task is None:
            self._task = asyncio.create_task(self._run())
        if self._idle is not None:
            self._idle.cancel()
        self._idle = None if self._readers else asyncio.get_running_loop().call_later(IDLE_SECONDS, self._end)

    def values(self) -> dict[str, bytes]:
        return {key: value for key, (_, value) in self._values.items() if value is not None}

    def _after(self, seen: int) -> tuple[list[msgspec.Raw], list[str], int]:
        """The values that came after change number `seen`, the keys that went, and the number of the last: about
        FRAME_BYTES of them at once."""
        values: list[msgspec.Raw] = []
        removed: list[str] = []
        size = 0
        unseen = [(key, number, value) for key, (number, value) in self._values.items() if number > seen]
        for key, number, value in unseen:
            if value is None:
                removed.append(key)
            elif values and size + len(value) > FRAME_BYTES:
                break
            else:
                values.append(msgspec.Raw(value))
                size += len(value)
            seen = number
        return values, removed, seen

    def _end(self) -> None:
        if self._task is not None:
            self._task.cancel()
        self._task = self._idle = None
        self._values.clear()
        self._instance, self._number = secrets.token_hex(4), 0
        self.complete = False

    async def _run(self) -> None:
        untold: set[str] | None = set(self._values)
        """Of the keys from before, those that the present state has not named so far; None once it is complete."""
        try:
            async with aclosing(self._replies()) as replies:
                async for reply in replies:
                    if reply is None:
                        untold = set(self.values())
                        continue
                    self._tell(None)
                    entry = self._entry(reply)
                    if entry is not None:
                        key, value = entry
                        if untold is not None:
                            untold.discard(key)
                        self._put(key, None if value is None else msgspec.json.encode(value))
                    elif untold is not None:
                        for key in untold:
                            self._put(key, None)
                        untold = None
                        self.complete = True
                        self._wake()
        except FluxgymError as error:  # a daemon without this method
            self._tell(error)

    def _put(self, key: str, value: bytes | None) -> None:
        if self._values.get(key, (0, None))[1] != value:
            self._number += 1
            self._values.pop(key, None)  # so that it is the last
            self._values[key] = (self._number, value)
            self._wake()

    def _tell(self, error: FluxgymError | None) -> None:
        problem = None if error is None else answers.body(error)
        if problem != self.problem:
            self.problem = problem
            self._wake()

    def _wake(self) -> None:
        self.news.set()
        self.news = asyncio.Event()
