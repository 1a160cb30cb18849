# SPDX-License-Identifier: Apache-2.0
"""The registry of jobs over real folders: a damaged job is shown, is never written to, keeps its GPUs and hides no
other."""

import asyncio
import errno
import fcntl
import json
import os
import threading
from pathlib import Path

import pytest

from fluxgym.errors import JobDamaged, NoSuchJob, StorageFailed, WrongState
from fluxgym.protocol.messages import State
from fluxgymd.core.damage import EVERYTHING
from fluxgymd.core.disk import storage
from fluxgymd.core.gpu import Reading
from fluxgymd.core.job import BadHistory, Final, Job, Queued, Running, Stopping
from fluxgymd.core.journal import events as e
from fluxgymd.core.watchdog.verdict import Healthy, Suspicious
from fluxgymd.jobs import doubtful, loading, view
from fluxgymd.jobs.entry import Entry
from fluxgymd.jobs.registry import Registry
from fluxgymd.store import journal as store_journal
from tests.core import histories as h
from tests.harness.waiting import DEADLINE_SECONDS
from tests.jobs.journals import encoded, load, put
from tests.store.small_disk import fill, small_disk

RUNNING = h.WAYS["running"]
DOUBT = Suspicious(why="Nothing moved.", since=3.0)


def record(registry: Registry, name: str, event: e.AnyEvent) -> None:
    asyncio.run(registry.record(registry.entry(name), event))
    registry.writer.close()


def test_a_recorded_event_is_on_the_disk_in_memory_and_in_the_view(tmp_path: Path) -> None:
    journal = put(tmp_path, "my-lora", encoded("my-lora", RUNNING))
    registry = load(tmp_path)
    before = registry.changes.revision.number
    record(registry, "my-lora", h.stop_asked())
    assert journal.read_bytes().endswith(e.encode(h.stop_asked()))
    entry, job = registry.sound("my-lora")
    assert isinstance(job.state, Stopping)
    assert json.loads(entry.folder.settings.read_bytes())["status"] == "stopping"
    assert registry.changes.since(before) == (["my-lora"], [])


def test_promise_8_a_damaged_job_is_never_written_to_and_hides_no_other(tmp_path: Path) -> None:
    lines = encoded("broken", RUNNING)
    journal = put(tmp_path, "broken", [*lines[:3], b"garbage\n", *lines[3:]])
    put(tmp_path, "sound", encoded("sound", h.WAYS["queued"]))
    before = journal.read_bytes()
    registry = load(tmp_path)

    with pytest.raises(JobDamaged) as refusal:
        record(registry, "broken", h.ended("completed"))
    assert refusal.value.message.startswith(
        "The journal of broken is damaged: line 4 of events.jsonl is not an event: "
    )
    assert f"repair or restore {journal}, or move the folder {journal.parent} away" in refusal.value.message
    with pytest.raises(JobDamaged):
        registry.sound("broken")
    assert journal.read_bytes() == before
    assert sorted(path.name for path in journal.parent.iterdir()) == ["events.jsonl"]

    assert [job.name for job in registry.jobs()] == ["sound"]
    assert sorted(entry.name for entry in registry) == ["broken", "sound"]
    shown = view.show(registry.entry("broken")).runtime
    assert (shown.state, shown.reason) == (State.DAMAGED, refusal.value.message)


def test_promise_4_a_damaged_job_keeps_its_gpu(tmp_path: Path) -> None:
    lines = encoded("broken", RUNNING)
    put(tmp_path, "broken", [*lines[:3], b"garbage\n"])
    reservation_damaged = encoded("worse", [h.submitted(), h.reserved(gpus=("GPU-2",)), h.spawned()])
    put(tmp_path, "worse", [reservation_damaged[0], reservation_damaged[1][3:], reservation_damaged[2]])
    put(tmp_path, "over", [*encoded("over", h.WAYS["completed"]), b"garbage\n"])
    assert load(tmp_path).doubtful_leases() == {"broken": ("GPU-1",), "worse": ("GPU-2",)}


def test_a_journal_under_another_name_is_damage(tmp_path: Path) -> None:
    put(tmp_path, "copy", encoded("my-lora", RUNNING))
    registry = load(tmp_path)
    with pytest.raises(JobDamaged, match="its journal belongs to my-lora"):
        registry.sound("copy")
    assert registry.leases() == [("GPU-1",)]


def test_a_journal_that_cannot_be_read_is_a_damaged_job(tmp_path: Path) -> None:
    (tmp_path / "outputs" / "odd" / "events.jsonl").mkdir(parents=True)
    registry = load(tmp_path)
    with pytest.raises(JobDamaged, match=r"events\.jsonl: it is a directory, not a regular file"):
        registry.sound("odd")
    shown = view.show(registry.entry("odd"))
    assert (shown.context.name, shown.runtime.state) == ("odd", State.DAMAGED)
    assert registry.leases() == [], "it has no attempts, so nothing of it runs"


def test_promises_4_and_8_a_job_whose_volume_hangs_is_damaged_hides_no_other_and_keeps_every_gpu(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    really, answered = store_journal.read, threading.Event()

    def read(path: Path) -> store_journal.History:
        if path.parent.name == "hung":
            answered.wait(DEADLINE_SECONDS)
        return really(path)

    monkeypatch.setattr(store_journal, "read", read)
    monkeypatch.setattr(loading, "PATIENCE_SECONDS", 3.0)
    for name in ("one", "hung", "other"):
        put(tmp_path, name, encoded(name, h.WAYS["queued"]))
    registry = load(tmp_path)
    answered.set()
    assert sorted(job.name for job in registry.jobs()) == ["one", "other"]
    assert registry.doubtful_leases() == {"hung": EVERYTHING}
    reason = str(view.show(registry.entry("hung")).runtime.reason)
    assert "its volume did not answer within 3 s" in reason
    assert f"move the folder {tmp_path / 'outputs' / 'hung'} away, then restart fluxgymd" in reason


@pytest.mark.parametrize("content", [b"", b"garbage\n", bytes(4096)])
def test_promise_4_a_journal_that_does_not_mention_a_running_attempt_keeps_every_gpu(
    tmp_path: Path, content: bytes
) -> None:
    attempt = put(tmp_path, "broken", [content]).parent / "attempts" / "001"
    attempt.mkdir(parents=True)
    assert load(tmp_path).doubtful_leases() == {}
    with (attempt / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        registry = load(tmp_path)
        assert registry.doubtful_leases() == {"broken": EVERYTHING}
        reason = str(view.show(registry.entry("broken")).runtime.reason)
    assert "attempt 001 holds its lock, but its GPU is unknown" in reason
    assert "all GPUs of this machine stay reserved. Nothing is written to it; repair or restore" in reason


def test_promise_4_a_damaged_job_that_runs_keeps_the_gpu_of_its_attempt_alone(tmp_path: Path) -> None:
    journal = put(tmp_path, "broken", [*encoded("broken", RUNNING), b"garbage\n"])
    attempt = journal.parent / "attempts" / "001"
    attempt.mkdir(parents=True)
    with (attempt / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        registry = load(tmp_path)
    assert registry.doubtful_leases() == {"broken": ("GPU-1",)}
    assert "; GPU-1 stays reserved because the job may be running" in str(
        view.show(registry.entry("broken")).runtime.reason
    )


def test_an_event_that_cannot_be_is_not_written(tmp_path: Path) -> None:
    journal = put(tmp_path, "my-lora", encoded("my-lora", RUNNING))
    before = journal.read_bytes()
    registry = load(tmp_path)
    with pytest.raises(BadHistory):
        record(registry, "my-lora", h.RESUME_ASKED)
    assert journal.read_bytes() == before
    assert registry.entry("my-lora").damage is None


def test_promise_3_a_full_disk_changes_nothing_and_is_reported_until_there_is_room(tmp_path: Path) -> None:
    place = tmp_path / "disk"
    place.mkdir()
    with small_disk(place, pages=24) as disk:
        journal = put(disk, "my-lora", encoded("my-lora", RUNNING))
        before = journal.read_bytes()
        registry = load(disk)
        entry = registry.entry("my-lora")
        hog = fill(disk)
        long = e.SightLost(at=7.0, attempt=1, why="x" * 9000)

        async def scenario() -> None:
            with pytest.raises(StorageFailed) as refusal:
                await registry.record(entry, long)
            assert isinstance(refusal.value.__cause__, OSError)
            assert refusal.value.__cause__.errno == errno.ENOSPC
            assert registry.storage_problem == storage.sentence(OSError(errno.ENOSPC, ""), str(disk))
            assert refusal.value.message == registry.storage_problem
            assert entry.job is not None
            assert isinstance(entry.job.state, Running)
            assert journal.read_bytes()[: len(before)] == before

            hog.unlink()
            await registry.record(entry, h.stop_asked())
            assert registry.storage_problem is None

        asyncio.run(scenario())
        registry.writer.close()
        reread = load(disk).sound("my-lora")[1]
        assert isinstance(reread.state, Stopping)


def test_promise_4_what_a_refused_reservation_would_hold_is_kept_until_the_disk_has_taken_it_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = put(tmp_path, "my-lora", encoded("my-lora", h.WAYS["queued"]))
    before = path.read_bytes()
    registry = load(tmp_path)
    entry = registry.entry("my-lora")
    monkeypatch.setattr(doubtful, "SETTLE_SECONDS", 0.01)

    def refuse(*_: object) -> None:
        raise OSError(errno.EIO, "Input/output error")

    async def scenario() -> None:
        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", refuse)
            patch.setattr(os, "ftruncate", refuse)
            with pytest.raises(StorageFailed):
                await registry.record(entry, h.reserved())
            assert path.read_bytes() == before + e.encode(h.reserved())  # a restart would find it
            assert entry.job is not None
            assert isinstance(entry.job.state, Queued)
            assert registry.leases() == [("GPU-1",)]
            assert registry.doubtful.names == ["my-lora"]
        number = registry.changes.revision.number
        while registry.doubtful.names:
            await registry.changes.wait(number)
        assert path.read_bytes() == before
        assert registry.leases() == []

    asyncio.run(asyncio.wait_for(scenario(), DEADLINE_SECONDS))
    registry.writer.close()


def test_promise_4_another_refusal_frees_nothing_of_a_reservation_that_is_in_doubt_already(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = put(tmp_path, "my-lora", encoded("my-lora", h.WAYS["queued"]))
    registry = load(tmp_path)

    def refuse(*_: object) -> None:
        raise OSError(errno.EIO, "Input/output error")

    async def scenario() -> None:
        for event in (h.reserved(), h.CANCELLED):
            with pytest.raises(StorageFailed):
                await registry.record(registry.entry("my-lora"), event)

    monkeypatch.setattr(os, "fsync", refuse)
    monkeypatch.setattr(os, "ftruncate", refuse)
    asyncio.run(scenario())
    registry.writer.close()
    assert path.read_bytes().endswith(e.encode(h.reserved())), "a restart would find it"
    assert registry.leases() == [("GPU-1",)]


def test_promise_8_where_another_daemon_owns_the_home_nothing_is_written(tmp_path: Path) -> None:
    put(tmp_path, "my-lora", encoded("my-lora", RUNNING))
    put(tmp_path, "over", encoded("over", h.WAYS["completed"]))
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    registry = load(tmp_path)
    registry.loss = "It is another's."

    async def scenario() -> None:
        with pytest.raises(StorageFailed, match=r"^It is another's\.$"):
            await registry.record(registry.entry("my-lora"), h.stop_asked())
        with pytest.raises(StorageFailed):
            await registry.remove(registry.entry("over"), must_be_final)

    asyncio.run(scenario())
    registry.writer.close()
    assert isinstance(registry.sound("my-lora")[1].state, Running)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before
    assert registry.storage_problem is None, "the disk is not to blame"


def test_two_events_at_once_are_decided_one_after_the_other(tmp_path: Path) -> None:
    put(tmp_path, "my-lora", encoded("my-lora", h.WAYS["queued"]))
    registry = load(tmp_path)
    entry = registry.entry("my-lora")

    async def scenario() -> None:
        outcomes = await asyncio.gather(
            registry.record(entry, h.CANCELLED), registry.record(entry, h.reserved()), return_exceptions=True
        )
        assert [type(outcome).__name__ for outcome in outcomes] == ["Job", "BadHistory"]

    asyncio.run(scenario())
    registry.writer.close()
    assert load(tmp_path).sound("my-lora")[1] == entry.job


def test_a_removed_job_is_gone(tmp_path: Path) -> None:
    journal = put(tmp_path, "my-lora", encoded("my-lora", h.WAYS["completed"]))
    registry = load(tmp_path)
    asyncio.run(registry.remove(registry.entry("my-lora"), lambda _: None))
    registry.writer.close()
    assert not journal.parent.exists()
    assert not registry.has("my-lora")
    with pytest.raises(NoSuchJob, match=r"^There is no job my-lora\.$"):
        registry.entry("my-lora")
    assert registry.changes.since(0) == ([], ["my-lora"])


def must_be_final(job: Job) -> None:
    if not isinstance(job.state, Final):
        raise WrongState("it does not rest", name=job.name)


def test_a_job_that_is_resumed_at_this_moment_is_not_removed(tmp_path: Path) -> None:
    journal = put(tmp_path, "my-lora", encoded("my-lora", h.WAYS["failed"]))
    registry = load(tmp_path)
    entry = registry.entry("my-lora")

    async def scenario() -> None:
        removing: list[asyncio.Task[object]] = []

        def resume(_: Job) -> e.AnyEvent:
            removing.append(asyncio.create_task(registry.remove(entry, must_be_final)))
            return h.RESUME_ASKED

        await registry.decide(entry, resume)
        with pytest.raises(WrongState):
            await removing[0]

    asyncio.run(scenario())
    registry.writer.close()
    assert journal.exists()
    assert registry.entry("my-lora") is entry


def test_a_job_that_is_removed_at_this_moment_is_not_resumed_and_the_disk_is_not_blamed(tmp_path: Path) -> None:
    journal = put(tmp_path, "my-lora", encoded("my-lora", h.WAYS["failed"]))
    registry = load(tmp_path)
    entry = registry.entry("my-lora")

    async def scenario() -> None:
        outcomes = await asyncio.gather(
            registry.remove(entry, must_be_final), registry.record(entry, h.RESUME_ASKED), return_exceptions=True
        )
        assert [type(outcome).__name__ for outcome in outcomes] == ["NoneType", "NoSuchJob"]

    asyncio.run(scenario())
    registry.writer.close()
    assert not journal.parent.exists()
    assert registry.storage_problem is None


def ages(home: Path, count: int) -> Registry:
    """A registry of the jobs `job-0` (the oldest) to `job-{count - 1}`. Every third one is queued, the others are
    cancelled."""
    for number in range(count):
        first = h.submitted(name=f"job-{number}", at=float(number))
        history: list[e.AnyEvent] = [first] if number % 3 == 0 else [first, h.CANCELLED]
        put(home, f"job-{number}", [e.encode(event) for event in history])
    return load(home)


def names(entries: list[Entry]) -> list[str]:
    return [entry.name for entry in entries]


def test_the_newest_come_first_and_a_list_can_go_on_behind_any_job(tmp_path: Path) -> None:
    registry = ages(tmp_path, 12)
    everything = [f"job-{number}" for number in reversed(range(12))]
    assert names(registry.newest()) == everything
    assert names(registry.newest(limit=5)) == everything[:5]
    assert names(registry.newest(limit=5, before="job-7")) == everything[5:10]
    assert names(registry.newest(limit=5, before="job-1")) == ["job-0"]
    assert names(registry.newest(limit=0)) == names(registry.newest(before="job-0")) == []
    with pytest.raises(NoSuchJob):
        registry.newest(before="job-12")


def test_jobs_of_the_same_second_all_come(tmp_path: Path) -> None:
    for name in ("b", "a", "c"):
        put(tmp_path, name, [e.encode(h.submitted(name=name, at=1.0))])
    registry = load(tmp_path)
    assert names(registry.newest()) == ["c", "b", "a"]
    assert names(registry.newest(before="b")) == ["a"]


def test_a_loop_over_the_open_jobs_does_not_see_the_others(tmp_path: Path) -> None:
    registry = ages(tmp_path, 6)
    assert sorted(names(registry.open())) == ["job-0", "job-3"]
    assert sorted(job.name for job in registry.jobs()) == ["job-0", "job-3"]
    assert registry.counts == {State.QUEUED: 2, State.STOPPED: 4}

    async def scenario() -> None:
        await registry.record(registry.entry("job-0"), h.CANCELLED)
        await registry.record(registry.entry("job-5"), h.RESUME_ASKED)
        await registry.remove(registry.entry("job-4"), lambda _: None)

    asyncio.run(scenario())
    registry.writer.close()
    assert sorted(names(registry.open())) == ["job-3", "job-5"]
    assert +registry.counts == {State.QUEUED: 2, State.STOPPED: 3}
    assert names(registry.newest()) == ["job-5", "job-3", "job-2", "job-1", "job-0"]


def test_each_waiting_job_knows_its_place_and_its_watchers_are_notified(tmp_path: Path) -> None:
    for name, rank in (("first", 1.0), ("second", 2.0), ("third", 3.0)):
        history = [h.submitted(name=name, rank=rank, job_id=name * 6)]
        put(tmp_path, name, [e.encode(event) for event in history])
    put(tmp_path, "runs", encoded("runs", RUNNING))
    put(tmp_path, "broken", [*encoded("broken", h.WAYS["queued"]), b"garbage\n"])
    registry = load(tmp_path)

    def places() -> dict[str, int | None]:
        return {entry.name: view.show(entry).runtime.queue_place for entry in registry}

    nowhere = {"runs": None, "broken": None}
    assert places() == {"first": 1, "second": 2, "third": 3, **nowhere}
    steps: list[tuple[str, e.AnyEvent, dict[str, int | None], set[str]]] = [
        ("third", h.HELD, {"first": 1, "second": 2, "third": 3}, {"third"}),
        (
            "third",
            e.Moved(at=2.0, priority=0, rank=0.5),
            {"first": 2, "second": 3, "third": 1},
            {"first", "second", "third"},
        ),
        ("first", h.CANCELLED, {"first": None, "second": 2, "third": 1}, {"first", "second"}),
        ("first", h.RESUME_ASKED, {"first": 2, "second": 3, "third": 1}, {"first", "second"}),
    ]

    async def scenario() -> None:
        for name, event, expected, told in steps:
            before = registry.changes.revision.number
            await registry.record(registry.entry(name), event)
            assert places() == expected | nowhere
            assert set(registry.changes.since(before)[0]) == told
        await registry.record(registry.entry("runs"), h.ended("interrupted", again=True))
        assert places()["runs"] == 2

    asyncio.run(scenario())
    registry.writer.close()


def test_promise_8_a_damaged_job_stays_in_sight(tmp_path: Path) -> None:
    put(tmp_path, "broken", [*encoded("broken", h.WAYS["completed"]), b"garbage\n"])
    put(tmp_path, "empty", [])
    registry = load(tmp_path)
    assert sorted(names(registry.open())) == ["broken", "empty"]
    assert registry.counts == {State.DAMAGED: 2}


def test_a_look_of_the_watchdog_notifies_once_and_only_about_changes(tmp_path: Path) -> None:
    put(tmp_path, "my-lora", encoded("my-lora", RUNNING))
    registry = load(tmp_path)
    entry = registry.entry("my-lora")
    look = (Reading(index=0, uuid="GPU-1", name="H200", utilization=93),)
    numbers = []
    for verdict, gpus in ((Healthy(), look), (Healthy(), look), (Healthy(), None), (DOUBT, None), (None, None)):
        registry.watched(entry, verdict, None, gpus)
        numbers.append(registry.changes.revision.number)
    assert numbers == [1, 1, 2, 3, 4]
    registry.writer.close()


@pytest.mark.parametrize(
    ("over", "shown"),
    [
        (None, ["d", "c", "b", "a", "0", "broken"]),
        (0, ["b", "broken"]),
        (1, ["d", "b", "broken"]),
        (2, ["d", "c", "b", "broken"]),
        (9, ["d", "c", "b", "a", "0", "broken"]),
    ],
)
def test_the_present_jobs_are_all_current_ones_and_the_newest_of_the_others(
    tmp_path: Path, over: int | None, shown: list[str]
) -> None:
    for name, way in (
        ("0", "failed"),
        ("a", "completed"),
        ("b", "interrupted"),
        ("c", "stopped"),
        ("d", "completed"),
    ):
        put(tmp_path, name, encoded(name, h.WAYS[way]))
    put(tmp_path, "broken", [])
    registry = load(tmp_path)
    assert names(registry.present(None, over=over)) == shown
    assert names(registry.present("a", over=over)) == ["a"]


def test_a_listener_sees_the_job_as_it_is_after_the_event(tmp_path: Path) -> None:
    put(tmp_path, "my-lora", encoded("my-lora", RUNNING))
    registry = load(tmp_path)
    told: list[tuple[State, e.AnyEvent]] = []
    registry.on_event = lambda entry, event: told.append((entry.state, event))
    record(registry, "my-lora", h.ended("completed"))
    assert told == [(State.COMPLETED, h.ended("completed"))]
