# SPDX-License-Identifier: Apache-2.0
"""The journal of a job or of a dataset: events.jsonl, one event per line.

A record counts once its newline is fsynced. Anything that a crash left after the last good record is copied to
another file and cut off before the next append. Any other bad line makes its job or dataset damaged, and the daemon
then writes nothing more to that journal (promise 8). If the disk refuses an event, the event is removed from the file
at once, so that a restart does not find an event that was reported as failed. If the removal fails too, the journal
is in doubt until its end is cut.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import msgspec

from fluxgym.files import open_file, read_file
from fluxgymd.core import damage, job
from fluxgymd.core.journal import events
from fluxgymd.core.journal.events import AnyEvent, Event
from fluxgymd.failpoints import failpoint
from fluxgymd.store.atomic import sync_folder, write_all, write_file

JOURNAL_BYTES = 256 << 20
"""A larger journal is not read. An event has a few kB, and a job a few hundred events."""


@dataclass(frozen=True, kw_only=True, slots=True)
class History:
    """The contents of a journal."""

    job: job.Job | None
    """The fold of the good records; None if the first record is bad."""
    good_size: int
    """Bytes up to the end of the last valid record."""
    problem: str | None
    """Why the job is damaged; None if it is not."""
    traces: damage.Traces
    """What the journal shows of the job's lease."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Scan:
    """The lines of a journal that were good."""

    data: bytes
    """The whole journal."""
    good_size: int
    """Bytes up to the end of the last valid record."""
    problem: str | None
    """What is wrong with the next line; None if the journal is not damaged."""


def scan(path: Path, take: Callable[[bytes], None]) -> Scan:
    """Reads a journal, and calls `take` with each line up to the first bad one: the line for which `take` raises
    MsgspecError or BadHistory. Raises OSError if the file cannot be read at all."""
    data = read_file(path, most=JOURNAL_BYTES)
    good = 0
    number = 0
    while (end := data.find(b"\n", good)) >= 0:
        number += 1
        problem = None
        try:
            take(data[good:end])
        except msgspec.MsgspecError as error:
            if _is_torn(data, good, end):
                break
            problem = f"line {number} of {path.name} is not an event: {error}"
        except job.BadHistory as error:
            problem = f"line {number} of {path.name} is impossible: {error}"
        if problem is not None:
            return Scan(data=data, good_size=good, problem=problem)
        good = end + 1
    return Scan(data=data, good_size=good, problem=None if good else f"{path.name} holds no complete event")


def read(path: Path) -> History:
    """Reads the journal of a job. Raises OSError if the file cannot be read at all."""
    state: job.Job | None = None

    def take(line: bytes) -> None:
        nonlocal state
        state = job.apply(state, events.decode(line))

    found = scan(path, take)
    if found.problem is not None or state is None:
        rest = found.data[found.good_size :].split(b"\n")
        traces = damage.traces(state, rest)
        return History(job=state, good_size=found.good_size, problem=found.problem, traces=traces)
    return History(job=state, good_size=found.good_size, problem=None, traces=damage.Traces(lease=state.lease))


def good_events(path: Path) -> list[AnyEvent]:
    """The events before the first line that does not decode; empty if the file cannot be read."""
    found: list[AnyEvent] = []
    try:
        data = read_file(path, most=JOURNAL_BYTES)
    except OSError:
        return found
    for line in data.split(b"\n")[:-1]:
        try:
            found.append(events.decode(line))
        except msgspec.MsgspecError:
            break
    return found


def events_between(path: Path, begin: int, end: int) -> list[AnyEvent] | None:
    """The events in a piece of a journal. None if the piece does not consist of complete, valid records: then the
    journal was replaced. Raises OSError if the file cannot be read at all."""
    data = read_file(path, most=JOURNAL_BYTES)
    piece = data[begin:end]
    if len(piece) < end - begin or not piece.endswith(b"\n") or data[:begin][-1:] not in (b"", b"\n"):
        return None
    try:
        return [events.decode(line) for line in piece.split(b"\n")[:-1]]
    except msgspec.MsgspecError:
        return None


def _is_torn(data: bytes, start: int, end: int) -> bool:
    """Whether the line is a record whose last page reached the disk while another page did not: nothing follows it,
    and it holds NULs, which JSON never does. Such a record was not fsynced, so it never counted."""
    return b"\0" in data[start:end] and not data[end + 1 :].strip(b"\0")


class Journal:
    """Appends to one journal. Its methods block, so they run in a writer thread, one at a time."""

    __slots__ = ("_begin", "_good_size", "_text", "in_doubt")  # each job has one (bench/control_plane.py)

    def __init__(self, path: Path, good_size: int, *, begin: Sequence[Event] = ()) -> None:
        """`begin`: the first events of a journal that does not exist yet. The first append writes them together with
        its own event, atomically."""
        self._text = os.fspath(path)
        self._good_size = good_size
        self._begin = tuple(begin)
        self.in_doubt = False
        """The event that the disk refused last may still be in the file, so a restart might read it."""

    @property
    def size(self) -> int:
        """Bytes up to the end of the last valid record."""
        return self._good_size

    @property
    def _path(self) -> Path:
        return Path(self._text)

    def append(self, event: Event) -> None:
        """Appends an event, durably. After an OSError the event does not count, and unless the journal is `in_doubt`
        nothing of the event is on the disk. The next append starts at the same offset."""
        line = events.encode(event)
        if self._begin:
            self._appear(line)
            return
        with self._opened() as descriptor:
            if self.in_doubt:
                self._cut(descriptor)
            self._cut_tail(descriptor)
            os.lseek(descriptor, self._good_size, os.SEEK_SET)
            failpoint("journal.opened")
            try:
                write_all(descriptor, line)
                failpoint("journal.written")
                os.fsync(descriptor)
                failpoint("journal.synced")
            except OSError:
                self.in_doubt = True
                with suppress(OSError):
                    self._cut(descriptor)
                raise
            self._good_size += len(line)

    def settle(self) -> None:
        """Removes an event that is in doubt. After an OSError the journal is still in doubt."""
        if self._begin:
            self._disappear()
        elif self.in_doubt:
            with self._opened() as descriptor:
                self._cut(descriptor)

    def _appear(self, line: bytes) -> None:
        whole = b"".join(map(events.encode, self._begin)) + line
        try:
            write_file(self._path, whole)
        except OSError:
            self.in_doubt = True
            with suppress(OSError):
                self._disappear()
            raise
        self._begin = ()
        self._good_size = len(whole)
        self.in_doubt = False

    def _disappear(self) -> None:
        self._path.unlink(missing_ok=True)
        sync_folder(self._path.parent)
        self.in_doubt = False

    @contextmanager
    def _opened(self) -> Iterator[int]:
        descriptor = open_file(self._path, os.O_RDWR)
        try:
            yield descriptor
        finally:
            with suppress(OSError):  # an fsync has succeeded already, or its error was already raised
                os.close(descriptor)

    def _cut_tail(self, descriptor: int) -> None:
        """Cuts off what a crash or another program left after the last good record, after copying it to a file."""
        size = os.fstat(descriptor).st_size
        if size < self._good_size:
            raise OSError(f"{self._path} became shorter than what was written to it")
        if size > self._good_size:
            self._keep(os.pread(descriptor, size - self._good_size, self._good_size))
            failpoint("journal.tail_kept")
            self._cut(descriptor)

    def _cut(self, descriptor: int) -> None:
        """Cuts the file after the last good record, durably. Keeps no copy of a refused event of our own: a full disk
        has no room for it, and a failing disk would collect one at each try."""
        failpoint("journal.tail_goes")
        if os.fstat(descriptor).st_size > self._good_size:
            os.ftruncate(descriptor, self._good_size)
        failpoint("journal.tail_cut")
        os.fsync(descriptor)
        self.in_doubt = False
        failpoint("journal.cut_synced")

    def _keep(self, tail: bytes) -> None:
        number = 1
        while (copy := self._path.with_name(f"{self._path.name}.torn-{number}")).exists():
            number += 1
        descriptor = os.open(copy, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            write_all(descriptor, tail)
            failpoint("journal.tail_written")
            os.fsync(descriptor)
            failpoint("journal.tail_synced")
        except OSError:
            copy.unlink()
            raise
        finally:
            os.close(descriptor)
        sync_folder(copy.parent)
