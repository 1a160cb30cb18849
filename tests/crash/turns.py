# SPDX-License-Identifier: Apache-2.0
"""Verbs that are asked again and again while the daemon dies at each failpoint that they pass."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import cycle
from typing import Any

from fluxgym.errors import DaemonUnreachable, FluxgymError, NoSuchJob, WrongState
from fluxgym.protocol import methods as m
from tests.crash import names
from tests.crash.mortal import Died, MortalDaemon
from tests.harness.waiting import until

EVENT = (*names.APPEND, names.FILE)
"""The failpoints of recording an event, including those of ui_state.json, which is written after each event."""
PASSES = 4
"""A daemon writes files at its start, too, so a failpoint that kills it there is armed for later passes as well."""


@dataclass(frozen=True)
class Turn:
    """A verb and what must be true once it is done. Of one test's turns, exactly one holds at any time."""

    ask: Callable[[], object]
    holds: Callable[[], bool]


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
            elif isinstance(error, (WrongState, NoSuchJob)) and died_at:
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
