# SPDX-License-Identifier: Apache-2.0
"""kill -9 at every failpoint that a verb passes: what was acknowledged holds, and anything else is done completely or
not at all.

The queue is paused or empty, so that the daemon is busy with nothing but the verb. Stop, resume and removal are
tested in test_failpoints.py.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from fluxgym.errors import DaemonUnreachable
from fluxgym.protocol import machine_methods as mm
from fluxgym.protocol import methods as m
from fluxgym.protocol.messages import Context, Kind, ResumeFrom, State, WatchdogMode
from fluxgym.protocol.steering_methods import SET_WATCHDOG, SetWatchdogParameters
from fluxgymd.core.job import Job
from fluxgymd.requests.takeover import KEPT, STAGING
from fluxgymd.store import journal
from fluxgymd.store.home import JOURNAL
from fluxgymd.store.job_trash import TRASH
from tests.crash import names
from tests.crash.material import short
from tests.crash.mortal import MortalDaemon
from tests.crash.promises import check_swept
from tests.crash.turns import EVENT, PASSES, Turn, died, kill_in, on, start, take
from tests.requests.older_home import home, nothing_is_lost, sd_scripts, tree

__all__ = ["home", "sd_scripts"]


@pytest.fixture
def daemon(folder: Path) -> Iterator[MortalDaemon]:
    with MortalDaemon(folder, {}, passes=dict.fromkeys(names.names(), PASSES)) as daemon:
        daemon.start()
        yield daemon


def kept(daemon: MortalDaemon, name: str) -> Job:
    """The job as recorded on the disk."""
    history = journal.read(daemon.folder(name) / JOURNAL)
    assert history.job is not None, history.problem
    return history.job


def submit(daemon: MortalDaemon, name: str) -> None:
    daemon.submit(Context(name=name, kind=Kind.PROGRAM, program=["/bin/true"], held=True))


def test_promise_3_hold_and_release_survive_a_crash_anywhere(daemon: MortalDaemon) -> None:
    daemon.call(mm.PAUSE, m.Nothing())
    submit(daemon, "a")
    kill_in(
        daemon,
        Turn(on(daemon, m.RELEASE, name="a"), lambda: not kept(daemon, "a").held),
        Turn(on(daemon, m.HOLD, name="a"), lambda: kept(daemon, "a").held),
        at=names.names(*EVENT, "verb."),
    )


def test_promise_3_a_move_survives_a_crash_anywhere(daemon: MortalDaemon) -> None:
    for name in ("a", "b", "c"):
        submit(daemon, name)

    def order() -> list[str]:
        return sorted(("a", "b", "c"), key=lambda name: kept(daemon, name).rank)

    kill_in(
        daemon,
        Turn(on(daemon, m.MOVE, name="c", before="a"), lambda: order() == ["c", "a", "b"]),
        Turn(on(daemon, m.MOVE, name="c", before="b"), lambda: order() == ["a", "c", "b"]),
        Turn(on(daemon, m.MOVE, name="b", before="c"), lambda: order() == ["a", "b", "c"]),
        at=names.names(*EVENT, "verb."),
    )


def test_promise_3_an_edit_survives_a_crash_anywhere(daemon: MortalDaemon) -> None:
    submit(daemon, "a")

    def turn(program: str) -> Turn:
        wanted = Context(name="a", program=[program])
        return Turn(on(daemon, m.EDIT, job=wanted), lambda: daemon.job("a").context.program == [program])

    kill_in(daemon, turn("/bin/false"), turn("/bin/true"), at=names.names(*EVENT, names.EDIT))


def test_promise_3_a_watchdog_that_is_set_survives_a_crash_anywhere(daemon: MortalDaemon) -> None:
    submit(daemon, "a")

    def turn(mode: WatchdogMode, until: float | None) -> Turn:
        asked = on(daemon, SET_WATCHDOG, name="a", mode=mode, until=until)

        def holds() -> bool:
            told = daemon.call(m.WATCHDOG, m.JobName(name="a"))
            return (told.mode, told.until) == (mode, until)

        return Turn(asked, holds)

    tomorrow = time.time() + 86400.0
    daemon.call(SET_WATCHDOG, SetWatchdogParameters(name="a", mode=WatchdogMode.ACT))
    turns = (turn(WatchdogMode.OFF, tomorrow), turn(WatchdogMode.ACT, None))
    kill_in(daemon, *turns, at=names.names(*EVENT))


def test_promises_3_and_5_a_job_has_the_checkpoint_of_another_one_completely_or_does_not_exist(
    folder: Path, model: Path
) -> None:
    at = names.names(names.ORIGIN, "submit.")
    with MortalDaemon(folder, {}) as daemon:
        daemon.start()
        daemon.submit(short("first", model, epochs=2))
        daemon.wait("first", State.COMPLETED)
        origin = contents(daemon.folder("first") / "first-state")
        daemon.kill()
        daemon.rules = dict.fromkeys(at, 1)
        wanted = short("more", model, epochs=4, held=True, resume_from=ResumeFrom(job="first"))
        copy = daemon.folder("more") / "more-000002-state"
        while True:
            start(daemon)
            check_swept(daemon)
            there = [job.context.name for job in daemon.jobs()]
            assert ("more" in there) == daemon.folder("more").exists()
            if "more" in there:
                assert contents(copy) == origin
                break
            with pytest.raises(DaemonUnreachable) as error:
                daemon.submit(wanted)
            assert died(daemon, error.value)
        assert sorted(daemon.met) == sorted(at)


def contents(state: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in state.iterdir()}


def test_promise_3_a_removal_and_its_undoing_survive_a_crash_anywhere(daemon: MortalDaemon) -> None:
    submit(daemon, "a")
    daemon.call(m.STOP, m.StopParameters(name="a"))
    folder = daemon.folder("a")
    (folder / "a.safetensors").write_bytes(b"a LoRA")

    def in_the_trash() -> list[Path]:
        found = list((daemon.home / "outputs" / TRASH).glob("a@*"))
        for place in (*found, *([folder] if folder.exists() else [])):
            assert journal.read(place / JOURNAL).problem is None
            assert (place / "a.safetensors").read_bytes() == b"a LoRA"
        return found

    kill_in(
        daemon,
        Turn(on(daemon, m.REMOVE, name="a"), lambda: not folder.exists() and len(in_the_trash()) == 1),
        Turn(on(daemon, m.RESTORE, name="a"), lambda: folder.exists() and in_the_trash() == []),
        at=names.names(names.RESTORE, "remove.begins", "remove.renamed", "remove.durable", "remove.done"),
    )


def test_a_removed_job_that_is_deleted_is_in_the_trash_or_gone(folder: Path) -> None:
    with MortalDaemon(folder, dict.fromkeys(names.names(names.TRASH), 1)) as daemon:
        while daemon.rules:
            start(daemon)
            submit(daemon, "a")
            daemon.call(m.STOP, m.StopParameters(name="a"))
            daemon.call(m.REMOVE, m.RemoveParameters(name="a"))
            with pytest.raises(DaemonUnreachable) as error:
                daemon.call(m.REMOVE, m.RemoveParameters(name="a", now=True))
            assert died(daemon, error.value)
            start(daemon)
            assert [path.name for path in (daemon.home / "outputs").iterdir()] == [TRASH]
            assert list((daemon.home / "outputs" / TRASH).iterdir()) == []


def test_promise_3_pause_and_continue_survive_a_crash_anywhere(daemon: MortalDaemon) -> None:
    kill_in(
        daemon,
        Turn(on(daemon, mm.PAUSE), lambda: daemon.info().queue_paused is True),
        Turn(on(daemon, mm.CONTINUE), lambda: daemon.info().queue_paused is False),
        at=names.names(names.FILE, names.MACHINE),
    )


def test_promises_3_and_8_an_older_training_becomes_a_job_completely_or_not_at_all(
    folder: Path, home: Path, sd_scripts: Path
) -> None:
    """After each death, every old file still exists with its time; the next try leaves no trace of the last one."""
    shutil.copytree(home, folder / "home")
    at = names.names(names.TAKEOVER, "dataset.")
    env = {"FLUXGYM_TRAINER_PATH": str(sd_scripts)}
    with MortalDaemon(folder, dict.fromkeys(at, 1), env=env) as daemon:
        older = daemon.folder("stopped")
        before = tree(older)

        def whole() -> bool:
            nothing_is_lost(before, older)
            is_job = (older / JOURNAL).exists()
            assert not is_job or journal.read(older / JOURNAL).problem is None
            return daemon.job("stopped").runtime.state is (State.QUEUED if is_job else State.STOPPED)

        start(daemon)
        daemon.call(mm.PAUSE, m.Nothing())
        resume = Turn(
            on(daemon, m.RESUME, name="stopped"), lambda: daemon.job("stopped").runtime.state is State.QUEUED
        )
        while take(daemon, resume, whole=whole):
            assert (older / KEPT).is_dir()
            assert not (older / STAGING).exists()
            daemon.kill()  # the resume made it a job, so the next turn needs a fresh training
            shutil.rmtree(older)
            shutil.copytree(home / "outputs" / "stopped", older)
        assert sorted(daemon.met) == sorted(at)
