# SPDX-License-Identifier: Apache-2.0
"""kill -9 at every failpoint that a verb passes: what was acknowledged holds, and anything else is done completely or
not at all.

The queue is paused or empty, so that the daemon is busy with nothing but the verb. Stop, resume and removal are
tested in test_failpoints.py.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from typing import Any

import pytest

from fluxgym import methods as m
from fluxgym.errors import DaemonUnreachable, FluxgymError, WrongState
from fluxgym.messages import Context, Kind, State
from fluxgymd.core.job import Job
from fluxgymd.requests.takeover import KEPT, STAGING
from fluxgymd.store import journal
from fluxgymd.store.home import JOURNAL
from tests.crash import names
from tests.crash.mortal import Died, MortalDaemon
from tests.harness.waiting import until
from tests.requests.older_home import home, nothing_is_lost, sd_scripts, tree

__all__ = ["home", "sd_scripts"]

EVENT = (*names.APPEND, names.FILE)
"""The failpoints of recording an event, including those of ui_state.json, which is written after each event."""
PASSES = 4
"""A daemon writes files at its start, too, so a failpoint that kills it there is armed for later passes as well."""


@dataclass(frozen=True)
class Turn:
    """A verb and what must be true once it is done. Of one test's turns, exactly one holds at any time."""

    ask: Callable[[], object]
    holds: Callable[[], bool]


@pytest.fixture
def daemon(folder: Path) -> Iterator[MortalDaemon]:
    with MortalDaemon(folder, {}, passes=dict.fromkeys(names.names(), PASSES)) as daemon:
        daemon.start()
        yield daemon


def kill_in(daemon: MortalDaemon, *turns: Turn, at: list[str]) -> None:
    """Takes the turns in order, again and again, until no daemon dies any more. At each of these failpoints, a daemon
    must have died while it was carrying out a verb."""
    daemon.kill()
    daemon.rules = dict.fromkeys(at, 1)
    died_at: set[str] = set()
    quiet = 0
    for turn in cycle(turns):
        met = take(daemon, turn, whole=lambda: sum(turn.holds() for turn in turns) == 1)
        quiet = 0 if met else quiet + 1
        died_at |= set(met)
        if quiet == len(turns):
            break
    assert died_at == set(at), f"never met while it was asked: {set(at) - died_at}"


def take(daemon: MortalDaemon, turn: Turn, *, whole: Callable[[], bool]) -> list[str]:
    """Repeats a verb until it is done. Checks after each death that it is not half done, and after a last kill that
    it still holds. Returns the failpoints at which daemons died while carrying it out."""
    died_at: list[str] = []
    while True:
        start(daemon)
        assert whole(), f"after {daemon.met[-1:]}"
        met = len(daemon.met)
        try:
            turn.ask()
            break
        except FluxgymError as error:
            if died(daemon, error):
                died_at += daemon.met[met:]
            elif isinstance(error, WrongState) and died_at:
                break  # it was already done, and only the answer was lost
            else:
                raise
    assert turn.holds()
    daemon.kill()
    start(daemon)
    assert turn.holds(), "promise 3: it was acknowledged"
    return died_at


def start(daemon: MortalDaemon) -> None:
    """Starts daemons until one survives its start."""
    while daemon.process is None:
        try:
            daemon.start()
        except Died:
            continue


def died(daemon: MortalDaemon, error: FluxgymError) -> bool:
    """Whether a failpoint caused this error, or the missing answer."""

    def found() -> bool:
        try:
            daemon.look()
        except Died:
            return True
        return False

    if isinstance(error, DaemonUnreachable):
        until(found, what="the dead daemon to be found at a failpoint")
        return True
    return found()


def on(daemon: MortalDaemon, method: m.Method[Any, Any], **parameters: Any) -> Callable[[], object]:
    return lambda: daemon.call(method, method.parameters(**parameters))


def kept(daemon: MortalDaemon, name: str) -> Job:
    """The job as recorded on the disk."""
    history = journal.read(daemon.folder(name) / JOURNAL)
    assert history.job is not None, history.problem
    return history.job


def submit(daemon: MortalDaemon, name: str) -> None:
    daemon.submit(Context(name=name, kind=Kind.PROGRAM, program=["/bin/true"], held=True))


def test_promise_3_hold_and_release(daemon: MortalDaemon) -> None:
    daemon.call(m.PAUSE, m.Nothing())
    submit(daemon, "a")
    kill_in(
        daemon,
        Turn(on(daemon, m.RELEASE, name="a"), lambda: not kept(daemon, "a").held),
        Turn(on(daemon, m.HOLD, name="a"), lambda: kept(daemon, "a").held),
        at=names.names(*EVENT, "verb."),
    )


def test_promise_3_move(daemon: MortalDaemon) -> None:
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


def test_promise_3_edit(daemon: MortalDaemon) -> None:
    submit(daemon, "a")

    def turn(program: str) -> Turn:
        wanted = Context(name="a", program=[program])
        return Turn(on(daemon, m.EDIT, job=wanted), lambda: daemon.job("a").context.program == [program])

    kill_in(daemon, turn("/bin/false"), turn("/bin/true"), at=names.names(*EVENT, names.EDIT))


def test_promise_3_pause_and_continue(daemon: MortalDaemon) -> None:
    kill_in(
        daemon,
        Turn(on(daemon, m.PAUSE), lambda: daemon.info().queue_paused is True),
        Turn(on(daemon, m.CONTINUE), lambda: daemon.info().queue_paused is False),
        at=names.names(names.FILE, names.MACHINE),
    )


def test_promises_3_and_8_an_older_training_becomes_a_job_whole_or_not_at_all(
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
        daemon.call(m.PAUSE, m.Nothing())
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
