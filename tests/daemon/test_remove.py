# SPDX-License-Identifier: Apache-2.0
"""A removed job stays in the trash for a while, and can be restored unchanged."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from fluxgym.errors import NameTaken, NoSuchJob, WrongState
from fluxgym.protocol import machine_methods as mm
from fluxgym.protocol import methods as m
from fluxgym.protocol.client import Connection
from fluxgym.protocol.event_messages import EventKind
from fluxgym.protocol.event_methods import EVENTS, EventsParameters, EventsReply
from fluxgym.protocol.messages import Context, Job, Kind, RemovedJob, State, WaitingFor
from fluxgymd.store.job_trash import TRASH
from tests.daemon.running import RunningDaemon, context
from tests.fluxgymctl.program import ctl, on_terminal
from tests.harness.waiting import until

JOBS = 3
DAY = 86400.0
DONE = """echo '{"files": []}' > result.json"""


@pytest.fixture
def daemon(folder: Path) -> Iterator[RunningDaemon]:
    with RunningDaemon(folder, arguments=("--supervisor", "process")) as daemon:
        yield daemon


def submit(daemon: RunningDaemon, name: str, script: str = DONE, **settings: object) -> None:
    program = ["/bin/sh", "-c", script]
    daemon.submit(Context(name=name, kind=Kind.PROGRAM, program=program, **settings))  # type: ignore[arg-type]


def done(daemon: RunningDaemon, name: str) -> Job:
    submit(daemon, name)
    return daemon.wait(name, State.COMPLETED)


def remove(daemon: RunningDaemon, name: str, *, now: bool = False) -> str | None:
    reply = daemon.call(m.REMOVE, m.RemoveParameters(name=name, now=now))
    assert isinstance(reply, m.RemoveReply)
    return reply.removed


def restore(daemon: RunningDaemon, name: str) -> Job:
    job = daemon.call(m.RESTORE, m.JobName(name=name)).job
    assert isinstance(job, Job)
    return job


def removed(daemon: RunningDaemon) -> list[RemovedJob]:
    with Connection(daemon.socket) as connection:
        return [reply.job for reply in connection.stream(m.REMOVED, m.Nothing()) if reply.job is not None]


def trash(daemon: RunningDaemon) -> list[str]:
    """The names of the folders in the trash, without the daemon's own file."""
    return sorted(path.name for path in (daemon.home / "outputs" / TRASH).iterdir() if path.is_dir())


def test_a_removed_job_is_restored_unchanged_even_after_a_restart(daemon: RunningDaemon) -> None:
    before = done(daemon, "a")
    (daemon.folder("a") / "mine.txt").write_text("a file of the user")
    assert remove(daemon, "a") == before.runtime.id
    assert daemon.jobs() == []
    daemon.stop()
    daemon.start()
    (kept,) = removed(daemon)
    assert (kept.name, kept.id) == ("a", before.runtime.id)
    assert abs(kept.deleted_at - kept.removed_at - 7 * DAY) < 60
    assert kept.size > 0
    assert restore(daemon, "a") == daemon.job("a")
    assert daemon.job("a").runtime == before.runtime
    assert (daemon.folder("a") / "mine.txt").read_text() == "a file of the user"
    assert (trash(daemon), removed(daemon)) == ([], [])
    assert daemon.events("a")[-1] == {
        "event": "restored",
        "at": daemon.events("a")[-1]["at"],
        "removedAt": kept.removed_at,
    }
    with pytest.raises(NoSuchJob, match="There is no removed job with the name or id a;"):
        restore(daemon, "a")


def test_the_name_is_free_in_the_meantime_and_the_last_one_comes_back_first(daemon: RunningDaemon) -> None:
    first, second = done(daemon, "a").runtime.id, ""
    remove(daemon, "a")
    second = done(daemon, "a").runtime.id
    with pytest.raises(NameTaken) as refusal:
        restore(daemon, "a")
    assert refusal.value.message == (
        f"A job named a exists; remove that one first, then restore this one by its id, {first}."
    )
    assert daemon.job("a").runtime.id == second
    remove(daemon, "a")
    assert [kept.id for kept in removed(daemon)] == [second, first]
    assert restore(daemon, "a").runtime.id == second
    remove(daemon, "a")
    assert restore(daemon, first).runtime.id == first


def test_a_job_that_waits_for_a_removed_one_starts_when_it_is_back(daemon: RunningDaemon) -> None:
    done(daemon, "a")
    daemon.call(mm.PAUSE, m.Nothing())
    submit(daemon, "b", after=["a"])
    remove(daemon, "a")
    daemon.call(mm.CONTINUE, m.Nothing())

    def waits() -> bool:
        runtime = daemon.job("b").runtime
        why = "a must be completed first, but it does not exist or is damaged."
        return (runtime.waiting_for, runtime.reason) == (WaitingFor.JOB, why)

    until(waits, what="b to wait for the removed job")
    restore(daemon, "a")
    daemon.wait("b", State.COMPLETED)


def test_now_deletes_a_job_and_one_that_was_removed_before(daemon: RunningDaemon) -> None:
    done(daemon, "a")
    assert remove(daemon, "a", now=True) is None
    assert removed(daemon) == []
    for _ in range(2):
        done(daemon, "a")
        remove(daemon, "a")
    oldest = removed(daemon)[-1].id
    assert remove(daemon, "a", now=True) is None
    assert [kept.id for kept in removed(daemon)] == [oldest]
    assert remove(daemon, oldest, now=True) is None
    assert trash(daemon) == []
    with pytest.raises(NoSuchJob):
        remove(daemon, "a", now=True)


def test_what_runs_or_waits_is_not_removed(daemon: RunningDaemon) -> None:
    submit(daemon, "a", "sleep 1000", held=True)
    for now in (False, True):
        with pytest.raises(WrongState):
            remove(daemon, "a", now=now)
    assert daemon.folder("a").is_dir()


def test_an_older_training_comes_back_too(daemon: RunningDaemon) -> None:
    daemon.stop()
    older = daemon.folder("older")
    older.mkdir()
    (older / "older.safetensors").write_bytes(b"")
    (older / "train.sh").write_text("accelerate launch sd-scripts/flux_train_network.py --output_name older\n")
    daemon.start()
    before = daemon.job("older")
    remove(daemon, "older")
    assert restore(daemon, "older") == before
    assert not (older / "events.jsonl").exists()


def test_a_removed_job_is_deleted_when_its_time_is_up(folder: Path) -> None:
    env = {"FLUXGYM_JOBS_TRASH_DAYS": "0.000001"}
    with RunningDaemon(folder, env=env, arguments=("--supervisor", "process")) as daemon:
        done(daemon, "a")
        remove(daemon, "a")
        assert len(trash(daemon)) == 1
        daemon.stop()
        daemon.start()
        until(lambda: trash(daemon) == [], what="the job to be deleted")


def test_with_zero_days_a_removal_deletes(folder: Path) -> None:
    env = {"FLUXGYM_JOBS_TRASH_DAYS": "0"}
    with RunningDaemon(folder, env=env, arguments=("--supervisor", "process")) as daemon:
        done(daemon, "a")
        assert remove(daemon, "a") is None
        assert os.listdir(daemon.home / "outputs") == []


def test_the_verbs_say_how_to_undo_a_removal(daemon: RunningDaemon) -> None:
    def said(*words: str) -> str:
        finished = ctl(*words, socket=daemon.socket)
        assert (finished.returncode, finished.stdout) == (0, "")
        return finished.stderr.removeprefix("fluxgymctl: ").removesuffix("\n")

    assert said("list", "--removed") == "There are no removed jobs."
    done(daemon, "a")
    assert said("rm", "a") == "a is removed; `fluxgymctl restore a` brings it back."
    header, line = ctl("list", "--removed", socket=daemon.socket).stdout.splitlines()
    assert header.split() == ["NAME", "REMOVED", "DELETED", "SIZE", "ID"]
    name, _, _, ago, within, number, unit, *_, shown = line.split()
    assert (name, ago, within, number, unit) == ("a", "ago", "in", "7", "d")
    assert shown == removed(daemon)[0].id
    assert said("restore", "a") == "a is restored; it is completed."
    assert said("rm", "--now", "a") == "a is deleted."
    assert ctl("restore", "a", socket=daemon.socket).returncode == 3


def test_a_job_can_be_removed_at_the_moment_its_end_is_reported(folder: Path, model: Path) -> None:
    trainer = folder / "trainer"
    trainer.mkdir()
    (trainer / "flux_train_network.py").write_text("raise SystemExit(1)\n")
    env = {"FLUXGYM_TRAINER_PATH": str(trainer)}
    with RunningDaemon(folder, env=env, arguments=("--supervisor", "process")) as daemon:
        for number in range(JOBS):
            name = f"job-{number}"
            daemon.submit(context(name, model, trainer_options={}))
            with Connection(daemon.socket) as watching:
                for change in watching.stream(m.WATCH, m.WatchParameters(name=name)):
                    if change.job is not None and change.job.runtime.state is State.FAILED:
                        break
            daemon.call(m.REMOVE, m.JobName(name=name))
        assert daemon.jobs() == []


def test_the_events_of_a_restored_job_continue_at_a_cursor_from_before_its_removal(daemon: RunningDaemon) -> None:
    done(daemon, "a")

    def told(name: str | None, after: str | None = None) -> list[EventsReply]:
        with Connection(daemon.socket) as connection:
            return list(connection.stream(EVENTS, EventsParameters(name=name, after=after)))

    for name in ("a", None):
        cursor = told(name)[-1].cursor
        daemon.call(m.ANNOTATE, m.AnnotateParameters(name="a", note=f"noted for {name}"))
        remove(daemon, "a")
        restore(daemon, "a")
        kinds = [reply.event.kind for reply in told(name, cursor) if reply.event is not None]
        assert kinds == [EventKind.ANNOTATED, EventKind.RESTORED]


@pytest.mark.parametrize(("days", "asks"), [("7", False), ("0", True)])
def test_rm_asks_on_a_terminal_if_a_job_could_not_be_restored(folder: Path, days: str, asks: bool) -> None:
    env = {"FLUXGYM_JOBS_TRASH_DAYS": days}
    with RunningDaemon(folder, arguments=("--supervisor", "process"), env=env) as daemon:
        done(daemon, "a")
        _, seen = on_terminal(["rm", "a"], socket=daemon.socket, answer=b"n\n")
        assert ("Delete a with its LoRA" in seen, daemon.folder("a").exists()) == (asks, asks), seen
        if asks:
            _, seen = on_terminal(["rm", "--yes", "a"], socket=daemon.socket)
            assert ("Delete" in seen, daemon.folder("a").exists()) == (False, False), seen
