# SPDX-License-Identifier: Apache-2.0
"""The journal on real disks: complete records count, torn tails are kept beside it, and damage is never
overwritten."""

import errno
import os
from pathlib import Path

import pytest

from fluxgymd.core.damage import UNREADABLE
from fluxgymd.core.job import Job, Stopping, fold
from fluxgymd.core.journal import events as e
from fluxgymd.store import journal
from fluxgymd.store.journal import Journal
from tests.core import histories as h
from tests.store.small_disk import PAGE, fill, small_disk

RUNNING = h.WAYS["running"]


def write(path: Path, events: list[e.AnyEvent], tail: bytes = b"") -> Path:
    path.write_bytes(b"".join(map(e.encode, events)) + tail)
    return path


def read_whole(path: Path) -> Job:
    history = journal.read(path)
    assert history.problem is None
    assert history.job is not None
    assert history.good_size == path.stat().st_size
    return history.job


def torn(path: Path) -> list[bytes]:
    return [copy.read_bytes() for copy in sorted(path.parent.glob("events.jsonl.torn-*"))]


def opened(path: Path) -> Journal:
    return Journal(path, journal.read(path).good_size)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "events.jsonl"


def test_appended_events_are_read_back(path: Path) -> None:
    write(path, RUNNING[:1])
    registry = opened(path)
    for event in RUNNING[1:]:
        registry.append(event)
    assert read_whole(path) == fold(RUNNING)
    assert torn(path) == []


TAILS = {
    "half a record": e.encode(h.stop_asked())[:-7],
    "a record without its newline": e.encode(h.stop_asked())[:-1],
    "NULs, as a file system leaves after a power cut": bytes(100),
    "half a record and NULs": e.encode(h.stop_asked())[:9] + bytes(5000),
    "a record of which only the last page was written": bytes(30) + e.encode(h.stop_asked())[30:],
    "such a record and NULs": bytes(30) + e.encode(h.stop_asked())[30:] + bytes(50),
    "half a character": b'{"event":"sight_lost","why":"\xc3',
}


@pytest.mark.parametrize("tail", TAILS.values(), ids=TAILS.keys())
def test_a_torn_tail_does_not_count_and_is_saved_elsewhere_by_the_next_append(path: Path, tail: bytes) -> None:
    write(path, RUNNING, tail)
    before = path.read_bytes()
    history = journal.read(path)
    assert history.problem is None
    assert history.job == fold(RUNNING)
    assert path.read_bytes() == before  # reading changes nothing

    Journal(path, history.good_size).append(h.stop_asked())
    assert read_whole(path) == fold([*RUNNING, h.stop_asked()])
    assert torn(path) == [tail]


def test_each_torn_tail_is_kept(path: Path) -> None:
    write(path, RUNNING[:2], b"first")
    opened(path).append(RUNNING[2])
    with path.open("ab") as file:
        file.write(b"second")
    opened(path).append(RUNNING[3])
    assert torn(path) == [b"first", b"second"]
    assert read_whole(path) == fold(RUNNING[:4])


def test_promise_8_every_prefix_of_its_bytes_yields_a_prefix_of_its_events(path: Path) -> None:
    history = [*RUNNING, h.stop_asked(), h.ended("stopped"), h.RESUME_ASKED, h.reserved(2)]
    whole = write(path, history).read_bytes()
    ends = [0]
    for event in history:
        ends.append(ends[-1] + len(e.encode(event)))
    jobs = [None, *(fold(history[:count]) for count in range(1, len(history) + 1))]
    for cut in range(len(whole) + 1):
        path.write_bytes(whole[:cut])
        found = journal.read(path)
        count = sum(end <= cut for end in ends) - 1
        assert found.good_size == ends[count]
        assert found.job == jobs[count]
        assert (found.problem is None) == (count > 0)


DAMAGE = {
    "no JSON": b"garbage\n",
    "NULs with a newline": bytes(20) + b"\n",
    "an empty line": b"\n",
    "an event that is not known": b'{"event":"teleported","at":1.0}\n',
    "bytes that are no UTF-8": b'{"event":"sight_lost","at":1.0,"attempt":1,"why":"\xff"}\n',
    "nested without end": b'{"event":"cancelled","at":1.0,"x":' + b"[" * 100_000 + b"\n",
    "an event that cannot follow": e.encode(h.RESUME_ASKED),
    "a second submit": e.encode(h.submitted()),
}


@pytest.mark.parametrize("bad", DAMAGE.values(), ids=DAMAGE.keys())
def test_promise_8_a_bad_line_in_the_middle_is_damage_and_is_named(path: Path, bad: bytes) -> None:
    write(path, RUNNING[:3], bad + b"".join(map(e.encode, RUNNING[3:])))
    history = journal.read(path)
    assert history.problem is not None
    assert history.problem.startswith("line 4 of events.jsonl ")
    assert history.job == fold(RUNNING[:3])
    assert history.traces.lease == ("GPU-1",)
    assert history.good_size == sum(len(e.encode(event)) for event in RUNNING[:3])


@pytest.mark.parametrize("content", [b"", b"\0\0", e.encode(h.submitted())[:-1]])
def test_a_journal_without_a_complete_event_is_damaged(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    problem = "events.jsonl holds no complete event"
    assert journal.read(path) == journal.History(job=None, good_size=0, problem=problem, traces=UNREADABLE)


def test_a_journal_that_cannot_be_read_is_an_error_and_not_a_job(path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        journal.read(path)


def test_an_append_never_creates_a_journal(path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        Journal(path, 0).append(h.submitted())
    assert not path.exists()


def test_a_file_that_was_shortened_by_others_is_not_written_to(path: Path) -> None:
    write(path, RUNNING)
    registry = opened(path)
    shorter = write(path, RUNNING[:2]).read_bytes()
    with pytest.raises(OSError, match="became shorter than what was written to it"):
        registry.append(h.stop_asked())
    assert path.read_bytes() == shorter


def test_data_appended_by_others_is_saved_elsewhere(path: Path) -> None:
    write(path, RUNNING)
    registry = opened(path)
    with path.open("ab") as file:
        file.write(b'{"event":"by hand"}\n')
    registry.append(h.stop_asked())
    assert torn(path) == [b'{"event":"by hand"}\n']
    assert read_whole(path) == fold([*RUNNING, h.stop_asked()])


def test_promise_3_a_full_disk_loses_nothing_and_the_next_append_continues(tmp_path: Path) -> None:
    with small_disk(tmp_path, pages=16) as disk:
        path = write(disk / "events.jsonl", RUNNING)
        registry = opened(path)
        # Up to 100 bytes before the end of its page, so that the next write is a short one, which is the worst case.
        padding = e.SightLost(at=7.0, attempt=1, why="x" * (PAGE - 200 - path.stat().st_size))
        registry.append(padding)
        room = PAGE - path.stat().st_size
        hog = fill(disk)
        good = path.read_bytes()
        long = e.SightLost(at=8.0, attempt=1, why="y" * 300)
        for _ in range(3):
            with pytest.raises(OSError, match="No space left") as refusal:
                registry.append(long)
            assert refusal.value.errno == errno.ENOSPC
            assert path.read_bytes()[: len(good)] == good
            found = journal.read(path)
            assert found.problem is None
            assert found.job == fold([*RUNNING, padding])
        # A part of the record was written; otherwise this test would prove nothing.
        assert 0 < room < len(e.encode(long))

        hog.unlink()
        registry.append(h.stop_asked())
        assert read_whole(path) == fold([*RUNNING, padding, h.stop_asked()])
        assert all(good not in copy for copy in torn(path))


def test_promise_3_a_short_append_is_taken_back_at_once_on_a_full_disk_too(tmp_path: Path) -> None:
    with small_disk(tmp_path, pages=16) as disk:
        path = write(disk / "events.jsonl", RUNNING)
        before = path.read_bytes()
        hog = fill(disk)
        written = opened(path)
        with pytest.raises(OSError, match="No space left"):
            written.append(e.SightLost(at=8.0, attempt=1, why="y" * 2 * PAGE))
        assert path.read_bytes() == before
        assert not written.in_doubt
        hog.unlink()
        opened(path).append(h.stop_asked())
        job = read_whole(path)
        assert isinstance(job.state, Stopping)
        assert torn(path) == []


def test_promise_3_an_event_that_cannot_be_taken_back_leaves_the_journal_in_doubt_until_it_can(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(path, RUNNING)
    before = path.read_bytes()
    registry = opened(path)

    def refuse(*_: object) -> None:
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", refuse)
        patch.setattr(os, "ftruncate", refuse)
        with pytest.raises(OSError, match="Input/output error"):
            registry.append(h.stop_asked())
        with pytest.raises(OSError, match="Input/output error"):
            registry.settle()
        assert registry.in_doubt
    assert path.read_bytes() == before + e.encode(h.stop_asked())
    registry.settle()
    assert path.read_bytes() == before
    registry.append(h.ended("failed"))
    assert read_whole(path) == fold([*RUNNING, h.ended("failed")])


def test_a_disk_without_room_for_the_torn_copy_cuts_nothing_off(tmp_path: Path) -> None:
    with small_disk(tmp_path, pages=16) as disk:
        path = write(disk / "events.jsonl", RUNNING, b"half a rec")
        hog = fill(disk)
        before = path.read_bytes()
        registry = opened(path)
        with pytest.raises(OSError, match="No space left"):
            registry.append(h.stop_asked())
        assert path.read_bytes() == before
        assert torn(path) == []
        hog.unlink()
        registry.append(h.stop_asked())
        assert torn(path) == [b"half a rec"]


def test_a_journal_with_a_beginning_appears_complete_with_the_first_append(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    beginning = h.WAYS["queued"]
    appending = Journal(path, 0, begin=beginning)
    assert not path.exists()
    for event in (h.reserved(), h.spawned()):
        appending.append(event)
    assert journal.good_events(path) == [*beginning, h.reserved(), h.spawned()]
    assert journal.read(path).good_size == path.stat().st_size


def test_a_beginning_that_the_disk_refuses_does_not_exist(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "events.jsonl"
    appending = Journal(path, 0, begin=h.WAYS["queued"])

    def refuse(_: Path) -> None:
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr("fluxgymd.store.atomic.sync_folder", refuse)  # fails after the rename
        with pytest.raises(OSError, match="Input/output error"):
            appending.append(h.reserved())
    assert list(tmp_path.iterdir()) == []
    appending.append(h.reserved())
    assert journal.good_events(path) == [*h.WAYS["queued"], h.reserved()]
