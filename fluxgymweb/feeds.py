# SPDX-License-Identifier: Apache-2.0
"""One stream from the daemon for all pages: its present state by key, and which keys each page has not seen yet.

A change only marks its key in the views, so a slow page gets fewer, newer states and costs no memory. A feed keeps
its stream for a while after its last view has gone, since pages reload.
"""

import asyncio
import secrets
from collections.abc import Callable, Iterator
from contextlib import aclosing, contextmanager
from typing import Any

import msgspec

from fluxgym.async_client import AsyncClient
from fluxgym.errors import FluxgymError
from fluxgym.methods import Method
from fluxgymweb import answers
from fluxgymweb.daemon import lasting

IDLE_SECONDS = 60.0

Entry = tuple[str, Any] | None
"""A key and its new value, None for a key that is gone; no entry at all says that the present state is complete."""


class View:
    """What one page has not seen yet."""

    def __init__(self) -> None:
        self.stale: dict[str, None] = {}
        self.complete = False
        self.changed = asyncio.Event()

    def mark(self, key: str) -> None:
        self.stale[key] = None
        self.changed.set()


class Feed:
    """The state of a watching method. `entry` reads a reply."""

    def __init__(
        self, client: AsyncClient, method: Method[Any, Any], parameters: Any, entry: Callable[[Any], Entry]
    ) -> None:
        self._client = client
        self._method = method
        self._parameters = parameters
        self._entry = entry
        self._instance = secrets.token_hex(4)
        self._number = 0
        self._values: dict[str, tuple[int, bytes | None]] = {}
        self._views: set[View] = set()
        self._task: asyncio.Task[None] | None = None
        self._idle: asyncio.TimerHandle | None = None
        self.complete = asyncio.Event()
        self.problem: dict[str, Any] | None = None
        """Why there is nothing new: the error of the last try; None while the daemon answers."""

    @property
    def place(self) -> str:
        """The place in the stream of changes, for `view`."""
        return f"{self._instance}.{self._number}"

    @contextmanager
    def view(self, since: str | None = None) -> Iterator[tuple[View, bool]]:
        """A view, and whether it begins anew, because `since` is no place of this feed."""
        view = View()
        instance, _, number = (since or "").partition(".")
        resumed = instance == self._instance and number.isdigit() and int(number) <= self._number
        known = int(number) if resumed else 0
        for key, (changed, value) in self._values.items():
            if changed > known and (resumed or value is not None):
                view.stale[key] = None
        view.changed.set()
        self._views.add(view)
        self.use()
        try:
            yield view, not resumed
        finally:
            self._views.discard(view)
            self.use()

    def use(self) -> None:
        """Keeps the stream for as long as there are views, and for a while after this call."""
        if self._task is None:
            self._task = asyncio.create_task(self._run())
        if self._idle is not None:
            self._idle.cancel()
        self._idle = None if self._views else asyncio.get_running_loop().call_later(IDLE_SECONDS, self._end)

    def values(self) -> dict[str, bytes]:
        return {key: value for key, (_, value) in self._values.items() if value is not None}

    def take(self, view: View, limit: int) -> tuple[list[bytes], list[str]]:
        """New values for a view, and keys that are gone: about `limit` bytes of them at once."""
        new: list[bytes] = []
        gone: list[str] = []
        size = 0
        for key in list(view.stale):
            value = self._values[key][1]
            if value is None:
                gone.append(key)
            elif new and size + len(value) > limit:
                return new, gone
            else:
                new.append(value)
                size += len(value)
            del view.stale[key]
        view.changed.clear()
        return new, gone

    def _end(self) -> None:
        if self._task is not None:
            self._task.cancel()
        self._task = self._idle = None
        self._values.clear()
        self._instance = secrets.token_hex(4)
        self.complete.clear()

    async def _run(self) -> None:
        seen: set[str] | None = set()
        """The keys of the present state while it is being told."""
        replies = lasting(self._client, self._method, lambda: self._parameters, away=self._tell)
        try:
            async with aclosing(replies):
                async for reply in replies:
                    if reply is None:
                        seen = set()
                        continue
                    self._tell(None)
                    match self._entry(reply):
                        case None if seen is not None:
                            for key in set(self.values()) - seen:
                                self._put(key, None)
                            seen = None
                            self.complete.set()
                            self._wake()
                        case (key, value):
                            if seen is not None:
                                seen.add(key)
                            self._put(key, None if value is None else msgspec.json.encode(value))
        except FluxgymError as error:  # a daemon without this method
            self._tell(error)

    def _put(self, key: str, value: bytes | None) -> None:
        if self._values.get(key, (0, None))[1] == value:
            return
        self._number += 1
        self._values[key] = (self._number, value)
        for view in self._views:
            view.mark(key)

    def _tell(self, error: FluxgymError | None) -> None:
        problem = None if error is None else answers.body(error)
        if problem != self.problem:
            self.problem = problem
            self._wake()

    def _wake(self) -> None:
        for view in self._views:
            view.changed.set()
