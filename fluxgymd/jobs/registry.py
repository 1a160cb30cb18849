# SPDX-License-Identifier: Apache-2.0
"""The registry: all jobs in memory, as their journals describe them. Only the registry appends events.

An event is on the disk before it changes the job in memory, and clients hear of it only after that. The cost of
frequent work (a scheduler's pass, a list of the newest jobs, a count) grows with the jobs that run or wait, and not
with the thousands of old ones beside them (bench/control_plane.py).
"""

import asyncio
import gc
import logging
import math
import os
import time
from bisect import bisect_left, insort
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import islice
from typing import TypeVar

from fluxgym.errors import JobDamaged, NameTaken, NoSuchJob, StorageFailed
from fluxgym.protocol.messages import Progress, State, WaitingFor
from fluxgym.quoting import short
from fluxgymd.background import lanes
from fluxgymd.core import schedule
from fluxgymd.core.damage import Lease
from fluxgymd.core.disk import storage
from fluxgymd.core.gpu import Reading
from fluxgymd.core.job import Job, Waiting, apply
from fluxgymd.core.journal.events import AnyEvent, Restored
from fluxgymd.core.journal.records import MOST
from fluxgymd.core.measures.pace import Slow
from fluxgymd.core.watchdog.trail import Trail
from fluxgymd.core.watchdog.verdict import Verdict
from fluxgymd.failpoints import failpoint
from fluxgymd.importing import folder as importing
from fluxgymd.jobs import loading, view
from fluxgymd.jobs.changes import Changes
from fluxgymd.jobs.doubtful import DoubtfulJournals
from fluxgymd.jobs.entry import Entry, entry_of
from fluxgymd.jobs.feed import Feed
from fluxgymd.jobs.loading import LoadedJob
from fluxgymd.store import journal
from fluxgymd.store.caches import shared_pictures
from fluxgymd.store.home import Home, JobFolder
from fluxgymd.store.job_trash import RemovedFolder
from fluxgymd.store.writer import Writer

log = logging.getLogger(__name__)

T = TypeVar("T")


class Registry:
    def __init__(self, home: Home, writer: Writer) -> None:
        self.home = home
        self.writer = writer
        self.changes = Changes()
        self.feed = Feed(self.changes.instance)
        self.on_event: Callable[[Entry, AnyEvent], None] = lambda _entry, _event: None
        """Called after each event has been applied; it must return at once and raise nothing."""
        self.storage_problem: str | None = None
        """Why the last write failed; None once one has succeeded again."""
        self._refusal: int | None = None
        """The errno of that failure."""
        self.loss: str | None = None
        """Why this daemon may not write to the home any more: another one owns it (store/owner.py)."""
        self._entries: dict[str, Entry] = {}
        self._open: dict[str, Entry] = {}
        self._by_age: list[tuple[int, float, str]] = []
        self._number = 0  # of the newest submit
        self._rank = -math.inf  # of the newest submit
        self.counts: Counter[State] = Counter()
        """How many jobs are in each state."""
        self.misnamed: list[str] = []
        """Sentences about older trainings that cannot be shown as jobs."""
        self.doubtful = DoubtfulJournals(self.disk, self.changes.changed)

    def load(self) -> None:
        """Reads every journal. Blocks, so it runs before the daemon serves anything."""
        # Nothing that is read here is garbage. The collector would still traverse all of it repeatedly, which took a
        # third of the start, and would stop the event loop for that later.
        gc.disable()
        for folder, found in loading.everything(self.home):
            self._take_in(entry_of(folder, found))
        self._import()
        by_turn = sorted(self._open.values(), key=lambda entry: entry.now.queue_place or 0, reverse=True)
        self.feed.loaded([*reversed(self.newest()), *by_turn])
        gc.enable()
        gc.freeze()

    def _import(self) -> None:
        """Adds what has no journal under outputs/: trainings of an older FluxGym, and jobs whose journal is gone."""
        found = importing.find(self.home.path, self._entries)
        for entry in self._without_journal(found):
            self._take_in(entry)
        self.misnamed = found.misnamed
        self._line_up()

    def _without_journal(self, found: importing.Found) -> list[Entry]:
        """Blocks."""
        entries = []
        for older in found.older:
            folder = self.home.folder(older.name)
            appending = journal.Journal(folder.journal, 0, begin=older.history)
            entries.append(Entry(folder, older.job, appending, older=older))
        for name in found.lost:
            folder = self.home.folder(name)
            entries.append(entry_of(folder, loading.read(folder)))
        return entries

    def __iter__(self) -> Iterator[Entry]:
        return iter(tuple(self._entries.values()))

    def open(self) -> list[Entry]:
        """The jobs that are not over: they run, wait, or are damaged."""
        return list(self._open.values())

    def newest(self, *, before: str | None = None, limit: int | None = None) -> list[Entry]:
        """The newest jobs first; only those older than the job `before`. NoSuchJob if that does not exist."""
        end = len(self._by_age) if before is None else bisect_left(self._by_age, self.entry(before).age)
        begin = 0 if limit is None else max(0, end - limit)
        return [self._entries[name] for *_, name in reversed(self._by_age[begin:end])]

    def present(self, name: str | None, *, over: int | None) -> list[Entry]:
        """The newest jobs first, but of those that have ended only the newest `over`; or the one job with this
        name."""
        if name is not None:
            return [self.entry(name)]
        newest = self.newest()
        if over is None:
            return newest
        ended = (entry.name for entry in newest if entry.over)
        shown = {*self._open, *islice(ended, over)}
        return [entry for entry in newest if entry.name in shown]

    def jobs(self) -> list[Job]:
        """The jobs that run or wait, without the damaged ones."""
        return [entry.job for entry in self.open() if entry.job is not None and entry.damage is None]

    def leases(self) -> list[Lease]:
        """All leases, those of damaged jobs included."""
        return [entry.lease for entry in self.open() if entry.lease is not None]

    def doubtful_leases(self) -> dict[str, Lease]:
        """The leases of damaged jobs and of those whose journal is in doubt, by the job's name."""
        doubtful = [entry for entry in self.open() if entry.damage is not None or entry.journal.in_doubt]
        return {entry.name: entry.lease for entry in doubtful if entry.lease is not None}

    def has(self, name: str) -> bool:
        return name in self._entries

    def entry(self, name: str) -> Entry:
        """The entry of this name; NoSuchJob if there is none."""
        try:
            return self._entries[name]
        except KeyError:
            raise NoSuchJob(f"There is no job {short(name)}.", name=short(name)) from None

    def sound(self, name: str) -> tuple[Entry, Job]:
        """The entry and its job; JobDamaged if the job is damaged."""
        entry = self.entry(name)
        if entry.damage is not None or entry.job is None:
            raise JobDamaged(loading.damage_sentence(entry.folder, entry.damage or "it is empty"), name=name)
        return entry, entry.job

    def queue_up(self, now: float) -> tuple[int, float]:
        """The number and the rank for a new submit."""
        self._number = min(self._number + 1, MOST)
        self._rank = schedule.last_rank([self._rank, *(job.rank for job in self.jobs())], now)
        return self._number, self._rank

    def add(self, folder: JobFolder, found: LoadedJob) -> Entry:
        """Adds a job that was just published. `found`: what was read of it, off the event loop."""
        entry = self._add(entry_of(folder, found))
        self.feed.submitted(entry)
        return entry

    def _add(self, entry: Entry) -> Entry:
        self._take_in(entry)
        self._line_up()
        self.changes.changed(entry.name)
        return entry

    async def record(self, entry: Entry, event: AnyEvent) -> Job:
        """Appends an event and applies it to the job. StorageFailed: the job has not changed."""
        return await self.decide(entry, lambda _: event)

    async def decide(self, entry: Entry, choose: Callable[[Job], AnyEvent]) -> Job:
        """Appends the event that `choose` makes from the job as it is now; no other event can come in between. If
        `choose` raises, the job stays as it was."""
        # A caller that is cancelled halfway must not leave an event on the disk that is missing in memory.
        return await asyncio.shield(asyncio.create_task(self._decide(entry, choose), name=f"decide-{entry.name}"))

    async def _decide(self, entry: Entry, choose: Callable[[Job], AnyEvent]) -> Job:
        async with entry.lock:
            if self._entries.get(entry.name) is not entry:
                raise NoSuchJob(f"The job {entry.name} was removed in the meantime.", name=entry.name)
            if entry.damage is not None or entry.job is None:
                raise JobDamaged(
                    loading.damage_sentence(entry.folder, entry.damage or "it is empty"), name=entry.name
                )
            event = choose(entry.job)
            after = apply(entry.job, event)
            before = entry.lease
            try:
                await self.disk(lambda: entry.journal.append(event))
            except StorageFailed:
                if entry.journal.in_doubt:  # because of this event, or still of an earlier one
                    entry.held = before if after.lease is None else after.lease
                    self.doubtful.begin(entry)
                raise
            failpoint("event.durable")
            waited = isinstance(entry.job.state, Waiting)
            entry.job = after
            self._file(entry)
            self.feed.recorded(entry, event)
            if waited or isinstance(after.state, Waiting):
                self._line_up()
            failpoint("event.folded")
        self.changes.changed(entry.name)
        self.on_event(entry, event)
        await self._show(entry)
        failpoint("event.shown")
        return after

    async def disk(self, work: Callable[[], T]) -> T:
        """Runs disk work in a writer thread. StorageFailed if the disk refuses, or another daemon owns the home."""
        if self.loss is not None:
            raise StorageFailed(self.loss)
        try:
            result = await self.writer.run(work)
        except OSError as error:
            raise StorageFailed(self.disk_refused(error)) from error
        self.storage_problem = None
        return result

    def disk_refused(self, error: OSError) -> str:
        """Stores and returns a sentence that says why the home's disk refused a write."""
        self._refusal = error.errno
        self.storage_problem = storage.sentence(error, str(self.home.path))
        return self.storage_problem

    def written_beside(self) -> None:
        """Notes that another write to the home has succeeded, so its disk is no longer full or read-only."""
        if self._refusal in storage.OF_THE_WHOLE_DISK:
            self.storage_problem = None

    def watched(
        self, entry: Entry, verdict: Verdict | None, trail: Trail | None, gpus: tuple[Reading, ...] | None
    ) -> None:
        """Stores what the watchdog saw at one look. Clients hear of it once, and only if the job looks different."""
        before = view.show(entry)
        entry.now.verdict, entry.now.trail, entry.now.gpus = verdict, trail, gpus
        if view.show(entry) != before:
            self.changes.changed(entry.name)

    def progressed(self, entry: Entry, progress: Progress | None, slow: Slow | None) -> None:
        entry.now.progress, entry.now.slow = progress, slow
        self.changes.changed(entry.name)

    def waits(self, entry: Entry, reason: WaitingFor, detail: str | None = None) -> None:
        if (entry.now.waiting_for, entry.now.waiting_detail) != (reason, detail):
            entry.now.waiting_for, entry.now.waiting_detail = reason, detail
            self.changes.changed(entry.name)

    async def remove(self, entry: Entry, check: Callable[[Job], None], *, keep: bool = False) -> RemovedFolder | None:
        """Removes a job that holds nothing. `check` sees the job's current state, which cannot change before the
        removal; if it raises, the job stays. `keep`: the folder is moved to the trash and returned, otherwise it is
        deleted."""
        async with entry.lock:
            _, job = self.sound(entry.name)
            check(job)
            now = time.time() if keep else None
            removed = await self.disk(lambda: self.home.remove(entry.folder, job.id, now=now))
            failpoint("remove.done")
            self._drop(entry)
        if removed is None:
            await self.sweep_pictures()
        return removed

    async def undisturbed(self, entry: Entry, check: Callable[[Job], None], work: Callable[[], T]) -> T:
        """Runs disk work on a job's folder. `check` sees the job's current state, which cannot change until the work
        is done; if it raises, nothing is done."""
        async with entry.lock:
            check(self.sound(entry.name)[1])
            return await self.disk(work)

    async def restore(self, removed: RemovedFolder) -> Entry:
        """Restores a job from the trash. NameTaken if another job has its name."""
        entry = None if self.has(removed.name) else await self.disk(lambda: self._restored(removed))
        if entry is None:
            raise NameTaken(
                f"A job named {removed.name} exists; remove that one first, then restore this one by its id, "
                f"{removed.id}.",
                name=removed.name,
            )
        self._add(entry)
        if entry.older is None and entry.damage is None:
            with suppress(StorageFailed):  # it is restored; only its history does not say so
                await self.record(entry, Restored(at=time.time(), removed_at=removed.removed_at))
        return entry

    def _restored(self, removed: RemovedFolder) -> Entry | None:
        """Moves a job back, and returns its entry; None if its name is taken. Blocks."""
        try:
            folder = JobFolder(self.home.trash.restore(removed))
        except FileExistsError:
            return None
        if folder.is_job:
            return entry_of(folder, loading.read(folder))
        found = self._without_journal(importing.find_one(self.home.path, folder.name))
        return found[0] if found else entry_of(folder, loading.read(folder))

    async def sweep_pictures(self) -> None:
        """Deletes the shared pictures that no job uses. To be called after a job's pictures were deleted."""
        count = await lanes.run("shared pictures", shared_pictures.sweep, self.home.shared_pictures)
        if count:
            log.info("deleted %d pictures that no job used any more", count)

    async def forget_deleted(self, entry: Entry) -> bool:
        """Drops a job whose folder, with its history, was deleted by hand. False if it was not deleted.

        The caller must know that nothing of the job runs, because a job that is dropped no longer holds its lease.
        """
        async with entry.lock:
            if not await self.writer.run(lambda: self.home.lacks(entry.folder)):
                return False
            log.error("%s: its folder was deleted and it is not running, so the job no longer exists", entry.name)
            if await self.writer.run(lambda: os.path.lexists(entry.folder.where)):
                log.error("%s: what its program wrote afterwards is in %s", entry.name, entry.folder.where)
            self._drop(entry)
        await self.sweep_pictures()
        return True

    def _drop(self, entry: Entry) -> None:
        self.doubtful.forget(entry.name)
        del self._entries[entry.name]
        self._open.pop(entry.name, None)
        del self._by_age[bisect_left(self._by_age, entry.age)]
        self._count(entry, None)
        self.changes.removed(entry.name)
        self.feed.dropped(entry)

    def _take_in(self, entry: Entry) -> None:
        self._entries[entry.name] = entry
        if entry.damage is None:
            self._number = max(self._number, entry.age[0])
        insort(self._by_age, entry.age)
        self._file(entry)
        self.feed.took_in(entry)

    def _line_up(self) -> None:
        """Gives each waiting job its place in the queue, and reports the jobs whose place has changed."""
        places = {job.name: place for place, job in enumerate(schedule.queue(self.jobs()), start=1)}
        for entry in self._open.values():
            place = places.get(entry.name)
            if place != entry.now.queue_place:
                entry.now.queue_place = place
                self.changes.changed(entry.name)

    def _file(self, entry: Entry) -> None:
        """Counts an entry under its state, and lists it as open or not."""
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
        """Rewrites ui_state.json. A failure is only logged, since the journal has everything."""
        try:
            await self.writer.run(lambda: view.write_settings(entry.folder, entry.job))
        except OSError as error:
            log.warning("%s: ui_state.json could not be written: %s", entry.name, error)
