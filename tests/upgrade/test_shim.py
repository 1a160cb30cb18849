# SPDX-License-Identifier: Apache-2.0
"""Tests that a job that an older version started continues and ends under this one, with the real older shim.

The tests speak the gate protocol of contract 1 themselves, not through today's code: the shim sends `w` when it
waits, and `g` lets it go.
"""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from fluxgym.protocol import methods as m
from fluxgym.protocol.messages import ExitKind, Job, State
from fluxgymd.attempts import place, processes
from fluxgymd.core.journal.records import Process
from tests.daemon.running import RunningDaemon
from tests.harness.waiting import DEADLINE_SECONDS, until

WAITS = "trap 'exit 143' TERM; while ! test -e go; do sleep 0.02; done; exit 42"
NAME = "running"
MARK = "5" * 32


class OlderJob:
    """A job that an older version started. Its trainer runs, and its daemon was then stopped for the upgrade."""

    def __init__(self, version: Path, home: Path) -> None:
        self.folder = home / "outputs" / NAME
        self.attempt = self.folder / "attempts" / "001"
        self.attempt.mkdir(parents=True)
        ours, its = socket.socketpair()
        with ours, its:
            self.shim = subprocess.Popen(
                [
                    *(sys.executable, "-I", "-S", str(version / "shim.frozen")),
                    *("--contract", "1"),
                    *("--folder", str(self.attempt)),
                    *("--gate-fd", str(its.fileno())),
                    *("--log", str(self.folder / "training.log")),
                    *("--job", NAME),
                    *("--directory", str(self.folder)),
                    *("--", "/bin/sh", "-c", WAITS),
                ],
                env={**os.environ, "FLUXGYM_ATTEMPT_ID": MARK},
                pass_fds=(its.fileno(),),
            )
            threading.Thread(target=self.shim.wait).start()  # reaps the shim, as init does when its daemon has ended
            assert ours.recv(1) == b"w"
            ours.sendall(b"g")
            self.trainer = self._trainer()
        self._write_journal(version)

    def _trainer(self) -> Process:
        path = self.attempt / "started.json"
        until(path.exists, what="the older shim's started.json")
        record = json.loads(path.read_text())
        return Process(pid=record["pid"], start=record["start"])

    def _write_journal(self, version: Path) -> None:
        """Writes the older version's journal, with the processes and the place of this run."""
        shim = processes.stat(self.shim.pid)
        assert shim is not None
        lines = (version / "outputs" / NAME / "events.jsonl").read_text().splitlines()[:5]
        changes: dict[str, dict[str, Any]] = {
            "reserved": {"place": _plain(place.here()), "mark": MARK},
            "spawned": {"shim": _plain(shim.process)},
            "started": {"trainer": _plain(self.trainer)},
        }
        events = [json.loads(line) for line in lines]
        assert [event["event"] for event in events] == ["submitted", "reserved", "spawned", "placed", "started"]
        text = "".join(json.dumps({**event, **changes.get(event["event"], {})}) + "\n" for event in events)
        (self.folder / "events.jsonl").write_text(text)

    def go(self) -> None:
        """Makes the trainer exit with status 42."""
        (self.folder / "go").touch()

    def kill(self) -> None:
        processes.send(self.trainer, signal.SIGKILL)
        self.shim.kill()


def _plain(record: Any) -> Any:
    return json.loads(msgspec.json.encode(record))


@pytest.fixture
def older(version: Path, folder: Path) -> Iterator[OlderJob]:
    job = OlderJob(version, folder / "home")
    yield job
    job.kill()


@pytest.fixture
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("fg")


def daemon_of_today(folder: Path) -> RunningDaemon:
    return RunningDaemon(folder, arguments=("--supervisor", "process"))


def ended(job: Job) -> tuple[ExitKind, int | None]:
    assert job.runtime.attempt is not None
    assert job.runtime.attempt.exit is not None
    return job.runtime.attempt.exit.kind, job.runtime.attempt.exit.code


def test_promise_1_a_job_of_an_older_version_is_adopted_by_this_one(older: OlderJob, folder: Path) -> None:
    with daemon_of_today(folder) as daemon:
        job = daemon.wait(NAME, State.RUNNING)
        assert job.runtime.attempt is not None
        assert (job.runtime.attempt.number, job.runtime.attempt.pid) == (1, older.trainer.pid)
        older.go()
        assert ended(daemon.wait(NAME, State.FAILED)) == (ExitKind.EXITED, 42)


def test_promise_2_its_exit_is_kept_although_no_daemon_saw_it(older: OlderJob, folder: Path) -> None:
    older.go()
    older.shim.wait(timeout=DEADLINE_SECONDS)
    with daemon_of_today(folder) as daemon:
        assert ended(daemon.wait(NAME, State.FAILED)) == (ExitKind.EXITED, 42)


def test_a_job_of_an_older_version_is_stopped_by_this_one(older: OlderJob, folder: Path) -> None:
    with daemon_of_today(folder) as daemon:
        daemon.wait(NAME, State.RUNNING)
        daemon.call(m.STOP, m.StopParameters(name=NAME))
        assert ended(daemon.wait(NAME, State.STOPPED)) == (ExitKind.EXITED, 143)


def test_promise_2_its_trainer_outlives_its_shim(older: OlderJob, folder: Path) -> None:
    with daemon_of_today(folder) as daemon:
        daemon.wait(NAME, State.RUNNING)
        older.shim.kill()
        until(lambda: daemon.job(NAME).runtime.reason, what="the daemon to see that")
        assert daemon.job(NAME).runtime.state is State.RUNNING
        daemon.call(m.STOP, m.StopParameters(name=NAME))
        assert ended(daemon.wait(NAME, State.STOPPED))[0] is ExitKind.UNKNOWN
