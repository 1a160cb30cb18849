# SPDX-License-Identifier: Apache-2.0
"""The book: every job in memory, as its journal tells it. The only place that appends events.

An event is on the disk before it is true in memory, and it is true in memory before anybody is told.
What is done again and again (a pass, a list of the newest, a count) costs as much as there are jobs that run or wait,
not as there are jobs: thousands of old ones lie beside them (bench/control_plane.py).
"""

import asyncio
import gc
import logging
from bisect import bisect_left, insort
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeVar

from fluxgym.errors import JobDamaged, NoSuchJob, StorageFailed
from fluxgym.messages import Progress, State, WaitingFor
from fluxgymd.core import schedule, storage
from fluxgymd.core.damage import Lease
from fluxgymd.core.events import AnyEvent
from fluxgymd.core.gpu import Reading
from fluxgymd.core.job import Job, Waiting, apply
from fluxgymd.core.watchdog.trail import Trail
from fluxgymd.core.watchdog.verdict import Verdict
from fluxgymd.engine import reading, view
from fluxgymd.engine.hub import Hub
from fluxgymd.engine.packing import Kept, job_of, keep
from fluxgymd.engine.reading import Read
from fluxgymd.engine.settling import Settling
from fluxgymd.failpoints import failpoint
from fluxgymd.importing import folder as importing
from fluxgymd.importing.folder import Older
from fluxgymd.store import journal
from fluxgymd.store.home import Home, JobFolder
from fluxgymd.store.writer import Writer

log = logging.getLogger(__name__)

T = TypeVar("T")


@dataclass(eq=False, slots=True)
class Entry:
    """One job in memory."""

    folder: JobFolder
    _kept: Kept
    journal: journal.Journal
    damage: str | None = None
    progress: Progress | None = None
    waiting_for: WaitingFor | None = None
    waiting_detail: str | None = None
    queue_place: int | None = None
    """From 1, while it waits."""
    not_before: float = 0.0
    """Monotonic: a start that failed is tried again after this."""
    start_problem: str | None = None
    withheld: str | None = None
    """Why its gate was left closed, if by no fault: it is started again at once."""
    verdict: Verdict | None = None
    """What the watchdog says of its attempt at present; None: it does not look at it (yet)."""
    trail: Trail | None = None
    """What that was concluded from; its `last` is the last look."""
    gpus: tuple[Reading, ...] | None = None
    """Those of its attempt, as of the last look. None: not known (yet)."""
    stop_unrecorded: bool = False
    """A stop was asked for that no journal can take any more: its folder was deleted."""
    _lock: asyncio.Lock | None = None
    _wake: asyncio.Event | None = None
    held: Lease | None = None
    """The lease of a damaged job, or of one whose journal is in doubt, which is kept."""
    counted_as: State | None = None
    """The state under which the book counts it."""
    _state: State = State.DAMAGED
    older: Older | None = None
    """What was read of a training of an older FluxGym, which has no journal yet (fluxgymd/importing)."""
    age: tuple[float, str] = (0.0, "")
    """When it was submitted, and its name: the order of a list."""

    def __post_init__(self) -> None:
        job = job_of(self._kept)  # not packed yet
        self.age = (job.submitted_at if job is not None else 0.0, self.folder.name)
        self.job = job

    @property
    def job(self) -> Job | None:
        """None only if not even the first record of a damaged journal is good."""
        return job_of(self._kept)

    @job.setter
    def job(self, job: Job | None) -> None:
        self._kept = keep(job)
        self._state = State.DAMAGED if job is None else view.wire_state(job.state)

    @property
    def state(self) -> State:
        """As it is shown."""
        return self._state if self.damage is None else State.DAMAGED

    @property
    def lock(self) -> asyncio.Lock:
        """Held from the look at the job to its event."""
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
        return self.age[1]

    @property
    def over(self) -> bool:
        """Whether nothing happens to it any more by itself, and it holds nothing."""
        return self.damage is None and isinstance(self._kept, bytes)

    @property
    def lease(self) -> Lease | None:
        """What it holds; None if it holds nothing."""
        if self.damage is not None:
            return self.held
        known = self.job.lease if self.job is not None else None
        return self.held if known is None and self.journal.in_doubt else known


class Book:
    def __init__(self, home: Home, writer: Writer) -> None:
        self.home = home
        self.writer = writer
        self.hub = Hub()
        self.on_event: Callable[[Entry, AnyEvent], None] = lambda _entry, _event: None
        """Told of each event after it has become true; it returns at once and raises nothing."""
        self.storage_problem: str | None = None
        """Why the last append failed; None once one has succeeded again."""
        self.loss: str | None = None
        """Why nothing may be written into the home any more: another daemon owns it (store/owner.py)."""
        self._entries: dict[str, Entry] = {}
        self._open: dict[str, Entry] = {}
        self._by_age: list[tuple[float, str]] = []
        self.counts: Counter[State] = Counter()
        """How many jobs are in each state."""
        self.misnamed: list[str] = []
        """Sentences about older trainings that cannot be shown as jobs."""
        self.settling = Settling(self.disk, self.hub.changed)

    def load(self) -> None:
        """Reads every journal. Blocks: it runs before anything is served."""
        # Nothing that is read here is garbage: the collector would look through all of it again and again, a third of
        # the time of a start, and later stop the event loop for it.
        gc.disable()
        for folder, found in reading.everything(self.home):
            self._take_in(_entry(folder, found))
        self._import()
        gc.enable()
        gc.freeze()

    def _import(self) -> None:
        """Takes in what lies under outputs/ without a journal."""
        found = importing.find(self.home.path, self._entries)
        for older in found.older:
            folder = self.home.folder(older.name)
            appending = journal.Journal(folder.journal, 0, begin=older.history)
            self._take_in(Entry(folder, older.job, appending, older=older))
        for name in found.lost:
            folder = self.home.folder(name)
            self._take_in(_entry(folder, reading.read(folder)))
        self.misnamed = found.misnamed
        self._line_up()

    def __iter__(self) -> Iterator[Entry]:
        return iter(tuple(self._entries.values()))

    def open(self) -> list[Entry]:
        """Those that are not over: they run, wait, or are damaged."""
        return list(self._open.values())

    def newest(self, *, before: str | None = None, limit: int | None = None) -> list[Entry]:
        """The newest first; only those older than the job `before`. NoSuchJob if there is none of that name."""
        end = len(self._by_age) if before is None else bisect_left(self._by_age, self.entry(before).age)
        begin = 0 if limit is None else max(0, end - limit)
        return [self._entries[name] for _, name in reversed(self._by_age[begin:end])]

    def jobs(self) -> list[Job]:
        """The jobs that run or wait."""
        return [entry.job for entry in self.open() if entry.job is not None and entry.damage is None]

    def leases(self) -> list[Lease]:
        """Everything that is held, by damaged jobs too."""
        return [entry.lease for entry in self.open() if entry.lease is not None]

    def doubtful_leases(self) -> dict[str, Lease]:
        """What is held, by name of the job, where nothing can be done with a job, or its journal is in doubt."""
        doubtful = [entry for entry in self.open() if entry.damage is not None or entry.journal.in_doubt]
        return {entry.name: entry.lease for entry in doubtful if entry.lease is not None}

    def has(self, name: str) -> bool:
        return name in self._entries

    def entry(self, name: str) -> Entry:
        """NoSuchJob if there is none."""
        try:
            return self._entries[name]
        except KeyError:
            raise NoSuchJob(f"There is no job {name}.", name=name) from None

    def sound(self, name: str) -> tuple[Entry, Job]:
        """The entry and its job; JobDamaged if nothing may be done with it."""
        entry = self.entry(name)
        if entry.damage is not None or entry.job is None:
            raise JobDamaged(view.damage_sentence(entry.folder, entry.damage or "it is empty"), name=name)
        return entry, entry.job

    def add(self, folder: JobFolder, found: Read) -> Entry:
        """A job that was just published. `found`: what was read of it, off the event loop."""
        entry = _entry(folder, found)
        self._take_in(entry)
        self._line_up()
        self.hub.changed(folder.name)
        return entry

    async def record(self, entry: Entry, event: AnyEvent) -> Job:
        """Appends an event and folds it. StorageFailed: nothing has changed."""
        return await self.decide(entry, lambda _: event)

    async def decide(self, entry: Entry, choose: Callable[[Job], AnyEvent]) -> Job:
        """Appends the event that `choose` makes of the job as it is now: between the look and the event nobody else
        comes in. What `choose` raises leaves the job as it was."""
        # A caller that is cancelled half-way must not leave an event on the disk that memory does not know.
        return await asyncio.shield(asyncio.create_task(self._decide(entry, choose), name=f"decide-{entry.name}"))

    async def _decide(self, entry: Entry, choose: Callable[[Job], AnyEvent]) -> Job:
        async with entry.lock:
            if self._entries.get(entry.name) is not entry:
                raise NoSuchJob(f"The job {entry.name} was removed meanwhile.", name=entry.name)
            if entry.damage is not None or entry.job is None:
                raise JobDamaged(view.damage_sentence(entry.folder, entry.damage or "it is empty"), name=entry.name)
            event = choose(entry.job)
            after = apply(entry.job, event)
            before = entry.lease
            try:
                await self.disk(lambda: entry.journal.append(event))
            except StorageFailed:
                if entry.journal.in_doubt:  # of this event, or still of the one before
                    entry.held = before if after.lease is None else after.lease
                    self.settling.begin(entry)
                raise
            failpoint("event.durable")
            waited = isinstance(entry.job.state, Waiting)
            entry.job = after
            self._file(entry)
            if waited or isinstance(after.state, Waiting):
                self._line_up()
            failpoint("event.folded")
        self.hub.changed(entry.name)
        self.on_event(entry, event)
        await self._show(entry)
        failpoint("event.shown")
        return after

    async def disk(self, work: Callable[[], T]) -> T:
        """Disk work in a writer thread. StorageFailed if the disk refuses, or the home is another daemon's."""
        if self.loss is not None:
            raise StorageFailed(self.loss)
        try:
            result = await self.writer.run(work)
        except OSError as error:
            self.storage_problem = storage.sentence(error, str(self.home.path))
            raise StorageFailed(self.storage_problem) from error
        self.storage_problem = None
        return result

    def watched(
        self, entry: Entry, verdict: Verdict | None, trail: Trail | None, gpus: tuple[Reading, ...] | None
    ) -> None:
        """What the watchdog saw at a look. Who watches is told once, and only of what looks different."""
        before = view.show(entry)
        entry.verdict, entry.trail, entry.gpus = verdict, trail, gpus
        if view.show(entry) != before:
            self.hub.changed(entry.name)

    def progressed(self, entry: Entry, progress: Progress | None) -> None:
        entry.progress = progress
        self.hub.changed(entry.name)

    def waits(self, entry: Entry, reason: WaitingFor, detail: str | None = None) -> None:
        if (entry.waiting_for, entry.waiting_detail) != (reason, detail):
            entry.waiting_for, entry.waiting_detail = reason, detail
            self.hub.changed(entry.name)

    async def remove(self, entry: Entry, check: Callable[[Job], None]) -> None:
        """Deletes a job that holds nothing. What `check` raises about the job as it is now leaves it as it was:
        between that look and the end of the job nobody else comes in."""
        async with entry.lock:
            _, job = self.sound(entry.name)
            check(job)
            await self.disk(lambda: self.home.remove(entry.folder, job.id))
            failpoint("remove.done")
            self._drop(entry)

    async def forget_deleted(self, entry: Entry) -> bool:
        """Drops a job whose folder somebody has deleted by hand, its history with it. False if the folder is there.

        The caller knows that nothing of it runs: a job that is dropped holds nothing.
        """
        async with entry.lock:
            if not await self.writer.run(lambda: self.home.lacks(entry.folder)):
                return False
            log.error("%s: its folder was deleted, and nothing of it runs: the job is no more", entry.name)
            self._drop(entry)
            return True

    def _drop(self, entry: Entry) -> None:
        self.settling.forget(entry.name)
        del self._entries[entry.name]
        self._open.pop(entry.name, None)
        del self._by_age[bisect_left(self._by_age, entry.age)]
        self._count(entry, None)
        self.hub.removed(entry.name)

    def _take_in(self, entry: Entry) -> None:
        self._entries[entry.name] = entry
        insort(self._by_age, entry.age)
        self._file(entry)

    def _line_up(self) -> None:
        """Gives each waiting job its place; who has another one than before has changed."""
        places = {job.name: place for place, job in enumerate(schedule.queue(self.jobs()), start=1)}
        for entry in self._open.values():
            place = places.get(entry.name)
            if place != entry.queue_place:
                entry.queue_place = place
                self.hub.changed(entry.name)

    def _file(self, entry: Entry) -> None:
        """Puts an entry where its state belongs."""
        if entry.over:
            self._open.pop(entry.name, None)
        else:
            self._open[entry.name] = entry
        self._count(entry, entry.state)

    def _count(self, entry: Entry, state: State | None) -> None:
        if entry.counted_as is not None:
            self.counts[entry.counted_as] -= 1
        if state is not None:
            self.counts[state] += 1
        entry.counted_as = state

    async def _show(self, entry: Entry) -> None:
        """Rewrites ui_state.json; a view may fail, the journal has it all."""
        try:
            await self.writer.run(lambda: view.write_settings(entry.folder, entry.job))
        except OSError as error:
            log.warning("%s: ui_state.json could not be written: %s", entry.name, error)


def _entry(folder: JobFolder, found: Read) -> Entry:
    if found.damage is not None:
        log.error("%s", view.damage_sentence(folder, found.damage))
    appending = journal.Journal(folder.journal, found.good_size)
    return Entry(folder, found.job, appending, found.damage, held=found.held)
