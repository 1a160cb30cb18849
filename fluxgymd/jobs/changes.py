# SPDX-License-Identifier: Apache-2.0
"""Which jobs have changed since a revision: the source of Watch.

A subscriber gets names, and reads a job's state when it can send it. So a slow subscriber gets fewer, newer states
and costs no memory (promise 10).
"""

import asyncio
import secrets
from collections import OrderedDict

from fluxgym.protocol.messages import Revision

REMOVED_KEPT = 1000
"""How many names of removed jobs are remembered. A client that missed more than that gets all jobs again."""


class Changes:
    def __init__(self) -> None:
        self.instance = secrets.token_hex(8)
        self._number = 0
        self._changed: OrderedDict[str, int] = OrderedDict()  # by revision, the newest last
        self._removed: OrderedDict[str, int] = OrderedDict()
        self._forgotten = 0
        self._wake = asyncio.Event()

    @property
    def revision(self) -> Revision:
        return Revision(instance=self.instance, number=self._number)

    def changed(self, name: str) -> None:
        self._number += 1
        self._removed.pop(name, None)
        self._changed[name] = self._number
        self._changed.move_to_end(name)
        self._wake_waiting()

    def removed(self, name: str) -> None:
        self._number += 1
        self._changed.pop(name, None)
        self._removed[name] = self._number
        self._removed.move_to_end(name)
        while len(self._removed) > REMOVED_KEPT:
            _, self._forgotten = self._removed.popitem(last=False)
        self._wake_waiting()

    def knows(self, since: Revision) -> bool:
        """Whether everything that has changed since then is still known."""
        return since.instance == self.instance and self._forgotten <= since.number <= self._number

    def since(self, number: int) -> tuple[list[str], list[str]]:
        """The names of the jobs that changed, and of those that were removed, after a revision; oldest first."""
        return _after(self._changed, number), _after(self._removed, number)

    async def wait(self, number: int) -> None:
        """Returns as soon as there is a newer revision."""
        while self._number <= number:
            await self._wake.wait()

    def _wake_waiting(self) -> None:
        self._wake.set()
        self._wake = asyncio.Event()


def _after(names: OrderedDict[str, int], number: int) -> list[str]:
    found = []
    for name, revision in reversed(names.items()):
        if revision <= number:
            break
        found.append(name)
    return found[::-1]
