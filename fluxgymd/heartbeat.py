# SPDX-License-Identifier: Apache-2.0
"""The service's own heartbeat: measures the daemon's vital signs, and beats unless a restart would help
(docs/decisions/heartbeat.md).

A look takes at most half of the time between two looks, and never waits for the disk. The watchdog of the trainings
(fluxgymd/watchdog) is unrelated and shares no code with this.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable

from fluxgymd.core.health import LOOKS, RESTART_LOOKS, Bus, Vitals, faults
from fluxgymd.host.notify import Notifier
from fluxgymd.store.disk_trial import DiskTrial
from fluxgymd.store.writer import Writer

log = logging.getLogger(__name__)

UNWATCHED_SECONDS = 60.0
"""Used as WatchdogSec if no service manager watches the daemon, which then still logs its faults."""

Ping = Callable[[float], Awaitable[Bus]]
"""The state of the bus thread, which has the given number of seconds to answer."""


class Heartbeat:
    def __init__(
        self,
        notifier: Notifier,
        writer: Writer,
        trial: DiskTrial,
        ping: Ping,
        *,
        last_pass: Callable[[], float],
        failing: Callable[[], list[str]],
        status: Callable[[], str],
    ) -> None:
        """`last_pass`: when the scheduler last finished a pass, in monotonic seconds. `failing`: the daemon's tasks
        that fail again and again."""
        self._failing = failing
        self._notifier = notifier
        self._last_pass = last_pass
        self._writer = writer
        self._trial = trial
        self._ping = ping
        self._status = status
        self._look_seconds = (notifier.watchdog_seconds or UNWATCHED_SECONDS) / LOOKS
        self._faulty = 0
        """Looks in a row that found a fault."""

    async def run(self) -> None:
        """Looks and beats forever."""
        late = 0.0
        while True:
            began = time.monotonic()
            self._tell(faults(await self._look(late), look_seconds=self._look_seconds))
            late = await _sleep(began + self._look_seconds - time.monotonic())

    async def _look(self, late: float) -> Vitals:
        return Vitals(
            loop_busy=late,
            last_pass=time.monotonic() - self._last_pass(),
            bus=await self._ping(self._look_seconds / 2),
            write_stands=self._write_stands(),
            failing=self._failing(),
        )

    def _write_stands(self) -> float:
        stands = self._writer.longest_stand()
        if stands is None:
            return 0.0
        passed = self._trial.passed(began_after=time.monotonic() - stands)
        return stands if passed and stands > self._look_seconds / 2 else 0.0

    def _tell(self, found: list[str]) -> None:
        what = "; ".join(found)
        self._notifier.status(f"faulty: {what}" if found else self._status())
        if not found:
            self._notifier.beat()
            self._faulty = 0
            return
        self._faulty += 1
        if self._faulty == 1:
            log.warning("no heartbeat: %s", what)
        elif self._faulty == RESTART_LOOKS:
            log.error("a restart of the daemon is needed: %s", what)
            self._notifier.ask_for_restart()


async def _sleep(seconds: float) -> float:
    """Sleeps. Returns the seconds by which the sleep was too long because of the event loop's own work."""
    asked, worked = time.monotonic(), time.thread_time()
    await asyncio.sleep(max(0.0, seconds))
    late = time.monotonic() - asked - seconds
    return max(0.0, min(late, time.thread_time() - worked))
