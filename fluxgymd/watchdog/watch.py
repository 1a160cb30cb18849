# SPDX-License-Identifier: Apache-2.0
"""Watches one attempt: observes, follows and judges it once per interval.

The verdict is kept in the registry for clients, noted in monitor.log when it changes, and recorded in the journal,
once per hang, when it is "stuck". After that, the task that looks at the attempt (run/looking.py) stops it if the
job is set to that, even if another daemon has taken over.
"""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Sequence

from fluxgym.config import Config
from fluxgym.protocol.messages import WatchdogMode
from fluxgymd.attempts.port import Adapter
from fluxgymd.core.energy import measure, power
from fluxgymd.core.gpu import Reading
from fluxgymd.core.job import Attempt, Job, Live
from fluxgymd.core.journal import events
from fluxgymd.core.watchdog import settings
from fluxgymd.core.watchdog.judge import judge
from fluxgymd.core.watchdog.observation import Observation
from fluxgymd.core.watchdog.trail import begin, follow
from fluxgymd.core.watchdog.verdict import Healthy, Stuck, Suspicious, Verdict
from fluxgymd.core.watchdog.watched import is_told, why_not
from fluxgymd.gpus.machine import Gpus
from fluxgymd.jobs import monitor
from fluxgymd.jobs.entry import Entry
from fluxgymd.jobs.faults import WATCHDOG
from fluxgymd.jobs.registry import Registry
from fluxgymd.trainers.choice import Trainers
from fluxgymd.watchdog.observer import Observer

log = logging.getLogger(__name__)

RECENT = 40
"""Looks that are kept for the evidence: 20 minutes with the default interval."""


class NoHang(Exception):
    """The job is no longer in the state that was judged, or the hang is already recorded."""


class Watch:
    """Runs from the look that finds a trainer to the attempt's end."""

    def __init__(
        self, registry: Registry, entry: Entry, adapter: Adapter, trainers: Trainers, *, gpus: Gpus, config: Config
    ) -> None:
        job = entry.known
        trainer = trainers.of(job.context)
        self._registry = registry
        self._entry = entry
        self._number = entry.attempt.number
        self._gpus = gpus
        self._configured = config.watchdog_mode
        self._is_watched = trainer.traits.watched
        self._limits = settings.limits(config.watchdog_limits, job.context.watchdog_limits)
        self._observer: Callable[[Attempt], Observer] = lambda attempt: Observer(
            folder=entry.folder,
            attempt=attempt,
            trainer=trainer,
            adapter=adapter,
            gpus=gpus,
            interval=self._limits.interval,
        )
        self._observing: Observer | None = None
        self._trail = begin(self._limits)
        self.recent: deque[Observation] = deque(maxlen=RECENT)

    async def run(self) -> None:
        """Looks until it is cancelled. While the watchdog is off, only queries the GPUs, for display."""
        try:
            while True:
                began = time.monotonic()
                try:
                    if self._mode() is WatchdogMode.OFF:
                        self._forget()
                        await self._ask_gpus()
                    else:
                        await self._look()
                except Exception as error:  # noqa: BLE001 - an error of the disk, or a bug: the next look tries again
                    self._entry.now.faults.failed(self._entry.name, WATCHDOG, error)
                else:
                    self._entry.now.faults.well(self._entry.name, WATCHDOG)
                # A look may take as long as its deadlines; that does not delay the next one.
                await asyncio.sleep(max(0.0, began + self._limits.interval - time.monotonic()))
        finally:
            self._forget()
            self._entry.now.faults.forget(WATCHDOG)
            self._registry.watched(self._entry, None, None, None)

    def _mode(self) -> WatchdogMode:
        """The current mode: the user may change it at any time."""
        return settings.mode(self._entry.known, self._configured, watched=self._is_watched, now=time.time())

    def _forget(self) -> None:
        """Forgets earlier looks, so that the limits count from the next one."""
        if self._observing is not None:
            self._observing.close()
            self._observing = None
            self._trail = begin(self._limits)

    async def _ask_gpus(self) -> None:
        attempt, gpus = self._watched(), self._entry.now.gpus
        if attempt is not None and attempt.gpus:
            at, clock = time.time(), time.monotonic()
            await self._gpus.ask(max_age=self._limits.interval / 2)
            gpus = self._gpus.of(attempt.gpus)
            self._measure(attempt, gpus, at=at, clock=clock)
        self._registry.watched(self._entry, None, None, gpus)

    async def _look(self) -> None:
        attempt = self._watched()
        if attempt is None:
            return
        if self._observing is None:
            self._observing = self._observer(attempt)
        look = await self._observing.observe()
        self._measure(attempt, look.gpus, at=look.at, clock=look.clock)
        if self._mode() is WatchdogMode.OFF:  # it was turned off during the look
            return
        self.recent.append(look)
        self._trail = follow(self._trail, look)
        before, verdict = self._entry.now.verdict, judge(self._trail, self._limits)
        self._registry.watched(self._entry, verdict, self._trail, look.gpus)
        if (
            type(verdict) is not type(before)
            and (told := self._tell(verdict, look, first=before is None)) is not None
        ):
            await monitor.note(self._entry.folder, f"watchdog: {told}")
        if isinstance(verdict, Stuck):
            await self._record(verdict, look)

    def _measure(self, attempt: Attempt, gpus: Sequence[Reading] | None, *, at: float, clock: float) -> None:
        watts = power(gpus)
        if watts is not None:
            self._entry.now.meter = measure(self._entry.now.meter, attempt, watts, at=at, clock=clock)

    def _watched(self) -> Attempt | None:
        """The attempt if it should be judged: its trainer runs and is visible, and no stop is under way."""
        job = self._entry.job
        if job is None or not isinstance(job.state, Live) or job.state.attempt.number != self._number:
            return None
        return job.state.attempt if why_not(job) is None else None

    async def _record(self, stuck: Stuck, look: Observation) -> None:
        phase = look.phase.value if look.phase is not None else None

        def choose(_: Job) -> events.HangFound:
            attempt, mode = self._watched(), self._mode()
            if attempt is None or mode is WatchdogMode.OFF:
                raise NoHang
            acts = mode is WatchdogMode.ACT
            if is_told(attempt, phase=phase, step=max(attempt.step, look.step or 0), acts=acts):
                raise NoHang
            return events.HangFound(
                at=time.time(),
                attempt=self._number,
                rule=stuck.rule,
                why=stuck.why,
                since=stuck.since,
                evidence=stuck.evidence,
                phase=phase,
                step=look.step,
                acts=acts,
            )

        try:
            await self._registry.decide(self._entry, choose)
        except NoHang:
            return
        self._entry.wake.set()

    def _tell(self, verdict: Verdict, look: Observation, *, first: bool) -> str | None:
        """The text about a changed verdict for monitor.log; None if there is none. A hang that the daemon acts on is
        noted together with its evidence instead."""
        match verdict:
            case Healthy() if first:
                return None
            case Healthy():
                step = f" at step {look.step} of {look.total_steps}" if look.step and look.total_steps else ""
                phase = f", {look.phase.value}" if look.phase is not None else ""
                return f"it is making progress again{phase}{step}"
            case Suspicious(why=why, since=since):
                return f"suspicious since {_clock(since)}. {why}"
            case Stuck() if self._mode() is WatchdogMode.ACT:
                return None
            case Stuck(why=why, since=since, evidence=seen):
                left = "It is left running because its watchdog only warns."
                return "\n    ".join((f"stuck since {_clock(since)}. {why}", *seen, left))


def _clock(at: float) -> str:
    return time.strftime("%H:%M:%S", time.localtime(at))
