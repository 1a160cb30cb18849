# SPDX-License-Identifier: Apache-2.0
"""Measures what a daemon costs, how late its event loop is, and how a client that behaves fares meanwhile."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Self

import psutil

from fluxgym.protocol import methods as m
from fluxgym.protocol.messages import Context, Kind, State
from tests.daemon.running import ROOT, RunningDaemon
from tests.harness.waiting import join, until


def program(name: str, *, held: bool = False) -> Context:
    """A job that ends at once after its start."""
    return Context(name=name, kind=Kind.PROGRAM, program=["/bin/true"], held=held)


def process_of(daemon: RunningDaemon) -> psutil.Process:
    assert daemon.process is not None
    return psutil.Process(daemon.process.pid)


@dataclass
class Observation:
    calls: int = 0
    largest_rss: int = 0
    loop_late: float = 0.0
    slowest: float = 0.0
    """Duration of the slowest call in seconds."""
    failure: BaseException | None = None


class Bystander:
    """A client that behaves: it connects, asks, reads the answer and disconnects, in a loop."""

    def __init__(self, daemon: RunningDaemon) -> None:
        self.seen = Observation()
        self._daemon = daemon
        self._process = process_of(daemon)
        self._leave = threading.Event()
        self._thread = threading.Thread(target=self._run, name="bystander")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        self._leave.set()
        join(self._thread)
        if self.seen.failure is not None:
            raise self.seen.failure

    def has_made(self, calls: int) -> None:
        """Waits until it has received this many answers."""

        def enough() -> bool:
            if self.seen.failure is not None:
                raise self.seen.failure
            return self.seen.calls >= calls

        until(enough, what=f"{calls} answered calls")

    def _run(self) -> None:
        try:
            while not self._leave.is_set():
                began = time.monotonic()
                info = self._daemon.info()
                self.seen.slowest = max(self.seen.slowest, time.monotonic() - began)
                self.seen.loop_late = max(self.seen.loop_late, info.loop_late or 0.0)
                self.seen.largest_rss = max(self.seen.largest_rss, self._process.memory_info().rss)
                self.seen.calls += 1
        except BaseException as error:  # noqa: BLE001 - it is raised again where the test sees it
            self.seen.failure = error


@contextmanager
def attacked(daemon: RunningDaemon, attack: str, job: str) -> Iterator[subprocess.Popen[str]]:
    """Runs this attack during the `with` block. At the end its program is killed, as may happen to any client."""
    command = [sys.executable, "-m", "tests.wire.attacks", attack, str(daemon.socket), job]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as attacker:
        try:
            assert attacker.stdout is not None
            assert attacker.stdout.readline() == "attacking\n"
            yield attacker
        finally:
            attacker.kill()


def runs_a_job(daemon: RunningDaemon, name: str) -> None:
    """Takes a job through its complete life: submitted, scheduled, started, watched, ended."""
    daemon.submit(program(name))
    daemon.call(m.DESCRIBE, m.JobName(name=name))
    until(
        lambda: daemon.job(name).runtime.state in (State.COMPLETED, State.FAILED, State.STOPPED),
        what=f"{name} to be over",
    )
