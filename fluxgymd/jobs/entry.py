# SPDX-License-Identifier: Apache-2.0
"""One job in memory: what its journal says, and what else the daemon knows of it while it runs."""

import asyncio
import logging
import signal
from dataclasses import dataclass, field

from fluxgym.protocol.messages import Progress, State, WaitingFor
from fluxgymd.core.damage import Lease
from fluxgymd.core.energy import Meter
from fluxgymd.core.gpu import Reading
from fluxgymd.core.job import Attempt, Final, Job, Live
from fluxgymd.core.journal.event_cursor import key_of
from fluxgymd.core.lost import Reach
from fluxgymd.core.measures.pace import Slow
from fluxgymd.core.watchdog.trail import Trail
from fluxgymd.core.watchdog.verdict import Verdict
from fluxgymd.importing.folder import Older
from fluxgymd.jobs import loading
from fluxgymd.jobs.faults import Faults
from fluxgymd.jobs.loading import LoadedJob
from fluxgymd.jobs.packing import Kept, job_of, keep
from fluxgymd.jobs.states import wire_state
from fluxgymd.store import journal
from fluxgymd.store.home import JobFolder

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class RefusedStop:
    """A stop that was asked for but is not in the journal (yet)."""

    attempt: int
    """The number of the attempt to stop; no later one is stopped."""
    why: str
    """One sentence: the disk refuses it, or the job's folder was deleted."""


@dataclass(eq=False, slots=True)
class Now:
    """What the daemon knows of a job at present, beyond its journal. All of it is gone with the daemon."""

    waiting_for: WaitingFor | None = None
    waiting_detail: str | None = None
    queue_place: int | None = None
    """From 1, while it waits."""
    not_before: float = 0.0
    """Monotonic: the job is not started before this time, because the last try failed."""
    start_problem: str | None = None
    withheld: str | None = None
    """Why its gate was left closed without a fault: the job is started again at once."""
    progress: Progress | None = None
    verdict: Verdict | None = None
    """The watchdog's present verdict on its attempt; None: it does not watch it (yet)."""
    trail: Trail | None = None
    """What the verdict was concluded from; its `last` is the last look."""
    gpus: tuple[Reading, ...] | None = None
    """The GPUs of its attempt, as of the last look. None: not known (yet)."""
    meter: Meter | None = None
    """The power of those GPUs since this daemon began to watch the attempt; None: not known (yet)."""
    slow: Slow | None = None
    """Set while the steps of the attempt are slow."""
    reach: Reach = Reach.HERE
    """Whether its attempt can be looked at from here."""
    faults: Faults = field(default_factory=Faults)
    log_problem: str | None = None
    """What is wrong with the size of its log while it runs, as a sentence."""
    refused_stop: RefusedStop | None = None
    handled: frozenset[signal.Signals] = frozenset()
    """The requests (core/wishes.py) that the attempt's trainer has handlers for, as of the last look."""


@dataclass(eq=False, slots=True)
class Entry:
    """A job in the registry."""

    folder: JobFolder
    _kept: Kept
    journal: journal.Journal
    damage: str | None = None
    held: Lease | None = None
    """The lease that a job keeps while it is damaged, or while its journal is in doubt."""
    older: Older | None = None
    """For a training of an older FluxGym, which has no journal yet: what was read of it (fluxgymd/importing)."""
    now: Now = field(default_factory=Now)
    counted_as: State | None = None
    """The state under which the registry counts it."""
    _state: State = State.DAMAGED
    _lock: asyncio.Lock | None = None
    _wake: asyncio.Event | None = None
    key: int | None = None
    """Identifies the job in cursors (core/journal/event_cursor.py); None for a damaged job."""
    told: int = 0
    """The length in bytes of its journal, up to the last event that counts; an event that is still being written does
    not."""
    age: tuple[int, float, str] = (0, 0.0, "")
    """The number and the time of its submit, and its name: lists are sorted by it."""

    def __post_init__(self) -> None:
        job = job_of(self._kept)  # not packed yet
        number, at = (job.number, job.submitted_at) if job is not None else (0, 0.0)
        self.age = (number, at, self.folder.name)
        self.job = job
        if job is not None and self.damage is None:
            self.key = key_of(job.id, self.folder.name)
        self.told = self.journal.size

    @property
    def job(self) -> Job | None:
        """None only for a damaged job: its journal has no good first record, or could not be read or loaded."""
        return job_of(self._kept)

    @job.setter
    def job(self, job: Job | None) -> None:
        self._kept = keep(job)
        self._state = State.DAMAGED if job is None else wire_state(job.state)

    @property
    def known(self) -> Job:
        """The job, where it is known not to be damaged."""
        job = self.job
        assert job is not None, f"{self.name} is damaged"
        return job

    @property
    def attempt(self) -> Attempt:
        """The attempt of a job that is known to be live."""
        state = self.known.state
        assert isinstance(state, Live), f"{self.name} has no attempt at present"
        return state.attempt

    @property
    def state(self) -> State:
        """DAMAGED for a damaged job, or else the job's own state."""
        return self._state if self.damage is None else State.DAMAGED

    @property
    def stop_unrecorded(self) -> str | None:
        """Why the stop of its present attempt is not in the journal (yet). None: there is no such stop."""
        refused = self.now.refused_stop
        if refused is None or self.job is None or not isinstance(self.job.state, Live):
            return None
        return refused.why if refused.attempt == self.job.state.attempt.number else None

    @property
    def lock(self) -> asyncio.Lock:
        """Held from the look at the job until its event is recorded."""
        if self._lock is None:
            self._lock = asyncio.Lock()
        return self._lock

    @property
    def wake(self) -> asyncio.Event:
        """Set when the task that watches its attempt should look at it now."""
        if self._wake is None:
            self._wake = asyncio.Event()
        return self._wake

    @property
    def name(self) -> str:
        return self.age[-1]

    @property
    def ended(self) -> bool:
        """Whether nothing will be written to its log and its metrics unless the user does something."""
        return self.damage is not None or self.job is None or isinstance(self.job.state, Final)

    @property
    def over(self) -> bool:
        """Whether it holds nothing, and nothing more happens to it unless the user asks for it."""
        return self.damage is None and isinstance(self._kept, bytes)

    @property
    def lease(self) -> Lease | None:
        """The lease that it holds; None if it holds nothing."""
        if self.damage is not None:
            return self.held
        known = self.job.lease if self.job is not None else None
        return self.held if known is None and self.journal.in_doubt else known


def entry_of(folder: JobFolder, found: LoadedJob) -> Entry:
    """Makes an entry of what was read. If that fails, the job counts as damaged; only then this blocks."""
    if found.damage is not None:
        log.error("%s", loading.damage_sentence(folder, found.damage))
    appending = journal.Journal(folder.journal, found.good_size)
    try:
        return Entry(folder, found.job, appending, found.damage, held=found.held)
    except Exception as error:
        if found.job is None:
            raise
        log.exception("%s: the job could not be loaded", folder.name)
        return entry_of(folder, loading.unloadable(folder, error))
