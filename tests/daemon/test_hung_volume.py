# SPDX-License-Identifier: Apache-2.0
"""A job whose files hang, as on a network volume that is away, delays only the clients that read them.

The files are on a real volume that never answers. A pipe would not do: the daemon reads regular files only.
"""

import json
import select
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from fluxgym.protocol import methods as m
from fluxgym.protocol.client import Connection
from fluxgym.protocol.messages import State
from tests.daemon.running import RunningDaemon, program
from tests.harness.hung_volume import HungVolume

READERS = 40
HUNG = "hung"


@contextmanager
def hanging(path: Path, away: Path) -> Iterator[None]:
    """Moves the file to a volume that does not answer; restores it at the end."""
    away.mkdir()
    path.rename(path.with_name("kept"))
    with HungVolume(away):
        path.symlink_to(away / path.name)
        yield
    path.unlink()
    path.with_name("kept").rename(path)


@contextmanager
def readers(daemon: RunningDaemon, question: dict[str, Any]) -> Iterator[list[socket.socket]]:
    """Clients that have asked about the job and are waiting for an answer."""
    with ExitStack() as stack:
        waiting = [stack.enter_context(socket.socket(socket.AF_UNIX)) for _ in range(READERS)]
        for reader in waiting:
            reader.connect(str(daemon.socket))
            reader.sendall(json.dumps(question).encode() + b"\0")
        yield waiting


QUESTIONS: dict[str, dict[str, Any]] = {
    "training.log": {"method": m.LOGS.name, "parameters": {"name": HUNG, "offset": 0}, "more": True},
    "events.jsonl": {"method": m.HISTORY.name, "parameters": {"name": HUNG}, "more": True},
}


@pytest.mark.parametrize("what", QUESTIONS)
def test_promise_10_a_job_whose_files_hang_delays_no_other_job_and_no_other_client(
    daemon: RunningDaemon, what: str, tmp_path: Path
) -> None:
    for name in (HUNG, "over"):
        daemon.submit(program(name, f"echo line of {name}; exit 3"))
        daemon.wait(name, State.FAILED)
    with (
        hanging(daemon.folder(HUNG) / what, tmp_path / "away"),
        readers(daemon, QUESTIONS[what]) as waiting,
    ):
        # Requests that need no file of the hung job, some of which read another job's files.
        assert {job.context.name for job in daemon.jobs()} == {HUNG, "over"}
        assert daemon.job(HUNG).runtime.state is State.FAILED
        assert not select.select(waiting, [], [], 0)[0], "its status came after the answers that wait for the disk"
        with Connection(daemon.socket) as connection:
            log = "".join(reply.text for reply in connection.stream(m.LOGS, m.LogsParameters(name="over", offset=0)))
            assert log.startswith("line of over\n")
            assert list(connection.stream(m.HISTORY, m.JobName(name="over")))
        assert daemon.call(m.CHECKPOINTS, m.JobName(name="over")).checkpoints == []
        daemon.submit(program("next"))
        daemon.wait("next", State.COMPLETED)


def test_promises_8_and_10_a_daemon_starts_although_the_journal_of_a_job_hangs(
    daemon: RunningDaemon, tmp_path: Path
) -> None:
    for name in (HUNG, "over"):
        daemon.submit(program(name, "exit 3"))
        daemon.wait(name, State.FAILED)
    daemon.stop()
    with hanging(daemon.folder(HUNG) / "events.jsonl", tmp_path / "away"):
        daemon.start()
        assert {job.context.name: job.runtime.state for job in daemon.jobs()} == {
            HUNG: State.DAMAGED,
            "over": State.FAILED,
        }
        assert "its volume did not answer within 20 s" in str(daemon.job(HUNG).runtime.reason)
        assert any("Damaged jobs: hung" in reason for reason in daemon.info().degraded)
        daemon.submit(program("next"))
        daemon.wait("next", State.COMPLETED)
    daemon.stop()
    daemon.start()
    assert daemon.job(HUNG).runtime.state is State.FAILED
