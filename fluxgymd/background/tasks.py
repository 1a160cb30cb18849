# SPDX-License-Identifier: Apache-2.0
"""The daemon's own long-running tasks. A task that fails is logged with its traceback, reported in Health, and
restarted after a pause.

A task that fails again and again stops the heartbeat, so that systemd restarts the daemon, whose state in memory may
be at fault. The jobs keep running meanwhile (promise 1). Without systemd, the daemon keeps retrying and reports it.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine
from contextlib import suppress

log = logging.getLogger(__name__)

PAUSES = (1.0, 5.0, 15.0, 30.0)
"""Seconds before a task is restarted, after its first, second, ... recent failure."""
STEADY_SECONDS = 180.0
"""Failures count as recent for this long. The slowest task does something every minute."""
OFTEN = 3
"""This many recent failures stop the heartbeat."""

Work = Callable[[], Coroutine[None, None, None]]
"""What a task does. Not a coroutine, which would never be awaited if the task is cancelled before its first step."""


class LongTasks:
    def __init__(self) -> None:
        self._tasks: list[asyncio.Task[None]] = []
        self._failures: dict[str, list[float]] = {}
        self._words: dict[str, str] = {}

    def start(self, name: str, work: Work) -> None:
        """Runs the work until it returns or the daemon exits."""
        self._tasks.append(asyncio.create_task(self._run(name, work), name=name))

    def problems(self) -> list[str]:
        """A sentence for each task that failed recently."""
        return [
            f"The daemon's task {name} has failed ({self._words[name]}) and was restarted; see the daemon's log."
            for name in self._failures
            if self._of_late(name)
        ]

    def failing(self) -> list[str]:
        """The tasks that keep failing."""
        return [name for name in self._failures if len(self._of_late(name)) >= OFTEN]

    async def close(self) -> None:
        """Ends the tasks in reverse order."""
        for task in reversed(self._tasks):
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    async def _run(self, name: str, work: Work) -> None:
        while True:
            try:
                await work()
                return
            except Exception as error:
                log.exception("the task %s failed; it is being restarted", name)
                self._words[name] = f"{type(error).__name__}: {error}"
                self._failures.setdefault(name, []).append(time.monotonic())
            await asyncio.sleep(PAUSES[min(len(self._of_late(name)), len(PAUSES)) - 1])

    def _of_late(self, name: str) -> list[float]:
        since = time.monotonic() - STEADY_SECONDS
        self._failures[name] = [at for at in self._failures[name] if at > since]
        return self._failures[name]
