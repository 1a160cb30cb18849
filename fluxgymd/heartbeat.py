# SPDX-License-Identifier: Apache-2.0
"""The service's own heartbeat: measures the vital signs, and beats only while a restart would not help.

The watchdog of the trainings is something else and shares nothing with this (daemons.md 3.2, 3.7).
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable

from fluxgymd.core.health import Vitals, faults
from fluxgymd.engine.scheduler import Scheduler
from fluxgymd.notify import Notifier
from fluxgymd.store.writer import Writer

log = logging.getLogger(__name__)

BEATS_PER_DEADLINE = 3
IDLE_SECONDS = 10.0
"""Between two looks where nobody wants a beat: a late loop is still worth a line in the log."""

Ping = Callable[[], Awaitable[float | None]]
"""Seconds since the bus thread answered; None without one, or while it reconnects."""


class Heartbeat:
    def __init__(
        self,
        notifier: Notifier,
        scheduler: Scheduler,
        writer: Writer,
        ping: Ping,
        *,
        failing: Callable[[], list[str]],
        status: Callable[[], str],
    ) -> None:
        """`failing`: the daemon's tasks that fail again and again."""
        self._failing = failing
        self._notifier = notifier
        self._scheduler = scheduler
        self._writer = writer
        self._ping = ping
        self._status = status

    async def run(self) -> None:
        """Beats, for ever."""
        deadline = self._notifier.watchdog_seconds
        interval = deadline / BEATS_PER_DEADLINE if deadline else IDLE_SECONDS
        while True:
            asked = time.monotonic()
            await asyncio.sleep(min(1.0, interval))
            late = time.monotonic() - asked - min(1.0, interval)
            found = faults(
                Vitals(
                    loop_late=late,
                    last_pass=time.monotonic() - self._scheduler.last_pass,
                    bus_answered=await self._ping(),
                    oldest_write=self._writer.oldest_age(),
                    failing=self._failing(),
                )
            )
            self._notifier.status(self._status() if not found else "faulty: " + "; ".join(found))
            if found:
                log.error("no heartbeat: %s", "; ".join(found))
            else:
                self._notifier.beat()
            await asyncio.sleep(max(0.0, interval - 1.0))
