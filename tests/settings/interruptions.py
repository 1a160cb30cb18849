# SPDX-License-Identifier: Apache-2.0
"""The ways in which a training is interrupted. Each is a function of the daemon and the job's name."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Callable

from fluxgym.errors import WrongState
from fluxgym.protocol import methods as m
from tests.daemon.running import RunningDaemon
from tests.harness.waiting import until

Way = Callable[[RunningDaemon, str], None]


def pid(daemon: RunningDaemon, name: str, kind: str) -> int:
    """Returns the pid of the newest attempt's process; `kind` is `trainer` or `shim`."""
    found = [event[kind]["pid"] for event in daemon.events(name) if kind in event]
    return int(found[-1])


def stop(daemon: RunningDaemon, name: str) -> None:
    with contextlib.suppress(WrongState):  # it has ended already
        daemon.call(m.STOP, m.StopParameters(name=name))


def _signals(number: int, *kinds: str) -> Way:
    def send(daemon: RunningDaemon, name: str) -> None:
        for kind in kinds:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid(daemon, name, kind), number)

    return send


def kill_daemon(daemon: RunningDaemon, _name: str) -> None:
    daemon.kill()
    daemon.start()


def kill_daemon_and_trainer(daemon: RunningDaemon, name: str) -> None:
    trainer = pid(daemon, name, "trainer")
    daemon.kill()
    with contextlib.suppress(ProcessLookupError):
        os.kill(trainer, signal.SIGKILL)
    until(lambda: not os.path.exists(f"/proc/{trainer}"), what="the trainer to be reaped by its shim")
    daemon.start()


WAYS: dict[str, Way] = {
    "stop": stop,
    "SIGTERM": _signals(signal.SIGTERM, "trainer"),
    "SIGINT": _signals(signal.SIGINT, "trainer"),
    "kill -9 trainer": _signals(signal.SIGKILL, "trainer"),
    "kill -9 shim": _signals(signal.SIGKILL, "shim"),
    "kill -9 shim and trainer": _signals(signal.SIGKILL, "shim", "trainer"),
    "kill -9 daemon": kill_daemon,
    "kill -9 daemon and trainer": kill_daemon_and_trainer,
}
SURVIVED = ("kill -9 shim", "kill -9 daemon")
"""The ways that do not affect the trainer."""
