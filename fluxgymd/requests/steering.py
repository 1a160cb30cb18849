# SPDX-License-Identifier: Apache-2.0
"""Handles requests to a job that leave it running."""

import time
from collections.abc import Callable

from fluxgym.errors import InvalidSetting
from fluxgym.protocol.messages import WatchdogMode
from fluxgymd.attempts.port import Adapter
from fluxgymd.core.job import Attempt, Completed, Final, Job
from fluxgymd.core.journal import events
from fluxgymd.core.journal.history import sentence
from fluxgymd.core.wishes import Wish, why_not
from fluxgymd.jobs import monitor
from fluxgymd.jobs.entry import Entry
from fluxgymd.jobs.registry import Registry
from fluxgymd.jobs.spec import attempt_ref
from fluxgymd.jobs.states import wire_state
from fluxgymd.requests.verbs import wrong_state
from fluxgymd.trainers.choice import Trainers

REQUESTED = {
    Wish.SAVE: "requested: a checkpoint and a LoRA after the current step",
    Wish.SAMPLE: "requested: samples after the current step",
}
LATEST = 1e11
"""The latest time that a journal can record."""


class Steering:
    def __init__(
        self, registry: Registry, trainers: Trainers, adapter_of: Callable[[Attempt], Adapter | None]
    ) -> None:
        """`adapter_of`: returns the adapter that runs an attempt, or None if it is unknown."""
        self._registry = registry
        self._trainers = trainers
        self._adapter_of = adapter_of

    async def ask(self, name: str, wish: Wish) -> None:
        """Sends a request to the trainer of a running job, which continues. WrongState says why that is not
        possible."""
        entry, job = self._registry.sound(name)
        trainer = self._trainers.of(job.context)
        phase = entry.now.progress.phase if entry.now.progress is not None else None
        refusal = why_not(job, wish, understood=trainer.signals, phase=phase)
        if refusal is not None:
            raise wrong_state(job, refusal)
        attempt, number = entry.attempt, wish.value
        adapter, ref = self._adapter_of(attempt), attempt_ref(attempt, entry.folder.attempt(attempt.number))
        launched = trainer.launches(len(attempt.gpus))
        if adapter is None or not await adapter.request(ref, number, launched=launched):
            raise wrong_state(job, "its trainer is still starting, or has just ended; try again in a few seconds")
        await monitor.note(entry.folder, REQUESTED[wish])

    async def set_watchdog(self, name: str, mode: WatchdogMode, *, until: float | None) -> Entry:
        """Sets what the watchdog does about a hang. InvalidSetting; WrongState for a job that has ended."""
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
        if mode is WatchdogMode.OFF:  # the verdict is withdrawn at once, not at the next look
            self._registry.watched(entry, None, None, entry.now.gpus)
        await monitor.note(entry.folder, sentence(event))
        return entry
