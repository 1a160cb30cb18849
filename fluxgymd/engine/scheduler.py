# SPDX-License-Identifier: Apache-2.0
"""The passes of the scheduler: facts in, core/schedule decides, the runner acts.

A pass runs whenever something changed and at least every few seconds; that a pass was *finished* lately is a sign of
life for the service's own heartbeat (daemons.md 3.2: a task that exists proves nothing).
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable

from fluxgym.messages import WaitingFor
from fluxgymd.core.job import Job, Waiting
from fluxgymd.core.schedule import choose
from fluxgymd.engine.book import Book, Entry
from fluxgymd.engine.runner import Runner
from fluxgymd.failpoints import failpoint
from fluxgymd.gpus.machine import Gpus

log = logging.getLogger(__name__)

PASS_SECONDS = 5.0


class Scheduler:
    def __init__(
        self,
        book: Book,
        runner: Runner,
        gpus: Gpus,
        *,
        bell: asyncio.Event,
        after_pass: Callable[[], Awaitable[None]],
    ) -> None:
        self._book = book
        self._runner = runner
        self._gpus = gpus
        self._after_pass = after_pass
        self._bell = bell  # rung by whoever changes what a pass looks at
        self.problem: str | None = None
        """Why nothing is started at present."""
        self.last_pass = time.monotonic()

    def ring(self) -> None:
        """Something changed: a pass is due."""
        self._bell.set()

    async def run(self) -> None:
        """Passes, for ever."""
        while True:
            try:
                await self._pass()
                await self._after_pass()
                self.last_pass = time.monotonic()
            except Exception:
                log.exception("a pass of the scheduler failed")
            try:
                async with asyncio.timeout(PASS_SECONDS):
                    await self._bell.wait()
            except TimeoutError:
                pass
            self._bell.clear()

    async def _pass(self) -> None:
        if not self._gpus.asked:
            return
        self.problem = await self._runner.adapter.problem() or self._gpus.uncertain
        now = time.monotonic()
        waiting = [entry for entry in self._book.open() if _waits(entry) and not self._runner.busy(entry.name)]
        if self.problem is not None:
            reason = WaitingFor.GPU if self._gpus.uncertain else WaitingFor.SUPERVISOR
            for entry in waiting:
                self._book.waits(entry, reason)
            return
        held = self._book.leases() + self._runner.promised()
        due: dict[str, tuple[Entry, Job]] = {
            entry.name: (entry, entry.job) for entry in waiting if entry.job is not None and entry.not_before <= now
        }
        starts = choose((job for _, job in due.values()), held, self._gpus.uuids)
        for start in starts:
            entry = due[start.job][0]
            self._book.waits(entry, WaitingFor.START)
            failpoint("schedule.chosen")
            self._runner.start(entry, start.gpus)
        chosen = {start.job for start in starts}
        for entry in waiting:
            if entry.name not in chosen:
                self._book.waits(entry, WaitingFor.START if entry.not_before > now else WaitingFor.GPU)


def _waits(entry: Entry) -> bool:
    return entry.damage is None and entry.job is not None and isinstance(entry.job.state, Waiting)
