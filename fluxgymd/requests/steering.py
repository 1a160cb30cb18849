# SPDX-License-Identifier: Apache-2.0
"""Requests to a job that leave it running."""

import time

from fluxgym.errors import InvalidSetting
from fluxgym.messages import WatchdogMode
from fluxgymd.core import events
from fluxgymd.core.history import sentence
from fluxgymd.core.job import Completed, Final, Job
from fluxgymd.failpoints import failpoint
from fluxgymd.jobs import monitor
from fluxgymd.jobs.entry import Entry
from fluxgymd.jobs.registry import Registry
from fluxgymd.jobs.states import wire_state
from fluxgymd.requests.verbs import wrong_state

LATEST = 1e11
"""The last time that a journal records."""


class Steering:
    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    async def set_watchdog(self, name: str, mode: WatchdogMode, *, until: float | None) -> Entry:
        """Sets what is done about a hang. InvalidSetting; WrongState for a job that has ended."""
        if mode is WatchdogMode.UNKNOWN:
            raise InvalidSetting("mode must be off, warn or act.", setting="mode")
        if until is not None and not time.time() < until <= LATEST:
            raise InvalidSetting("until must be a time in the future, in seconds since 1970.", setting="until")

        event = events.WatchdogSet(at=time.time(), mode=mode, until=until)

        def decide(job: Job) -> events.AnyEvent:
            if isinstance(job.state, Completed):
                raise wrong_state(job, "it is completed")
            if isinstance(job.state, Final):
                instead = f"`fluxgymctl edit {job.name} --watchdog {mode.value}` sets it for its next attempt"
                raise wrong_state(job, f"it is {wire_state(job.state)}; {instead}")
            return event

        entry, _ = self._registry.sound(name)
        await self._registry.decide(entry, decide)
        failpoint("verb.recorded")
        if mode is WatchdogMode.OFF:  # the verdict ends at once, and not with the next look
            self._registry.watched(entry, None, None, entry.now.gpus)
        await monitor.note(entry.folder, sentence(event))
        return entry
