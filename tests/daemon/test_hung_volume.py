# SPDX-License-Identifier: Apache-2.0
"""A job whose files hang, as on a network volume that is away, holds up its own readers and nobody else.

The files that hang are real ones: pipes, which nobody opens to write.
"""

import json
import os
import select
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest

from fluxgym import methods as m
from fluxgym.client import Connection
from fluxgym.messages import Context, Kind, State
from tests.daemon.running import RunningDaemon

READERS = 40
HUNG = "hung"


def program(name: str, script: str) -> Context:
    return Context(name=name, kind=Kind.PROGRAM, program=["/bin/sh", "-c", script])


@contextmanager
def readers(daemon: RunningDaemon, question: dict[str, Any]) -> Iterator[list[socket.socket]]:
    """Clients that have put a question about the job, and wait for its answer."""
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
    daemon: RunningDaemon, what: str
) -> None:
    for name in (HUNG, "over"):
        daemon.submit(program(name, f"echo line of {name}; exit 3"))
        daemon.wait(name, State.FAILED)
    path = daemon.folder(HUNG) / what
    path.unlink()
    os.mkfifo(path)
    with readers(daemon, QUESTIONS[what]) as waiting:
        # What needs no disk of that job, and what needs that of another.
        assert {job.context.name for job in daemon.jobs()} == {HUNG, "over"}
        assert daemon.job(HUNG).runtime.state is State.FAILED
        assert not select.select(waiting, [], [], 0)[0], "its status came after the answers that wait for the disk"
        with Connection(daemon.socket) as connection:
            log = "".join(reply.text for reply in connection.stream(m.LOGS, m.LogsParameters(name="over", offset=0)))
            assert log.startswith("line of over\n")
            assert list(connection.stream(m.HISTORY, m.JobName(name="over")))
        assert daemon.call(m.CHECKPOINTS, m.JobName(name="over")).checkpoints == []
        daemon.submit(program("next", """echo '{"files": []}' > result.json"""))
        daemon.wait("next", State.COMPLETED)
    # And at the end of the test the daemon leaves, although some of its threads never come back.


def test_promises_8_and_10_a_daemon_starts_although_the_journal_of_a_job_hangs(daemon: RunningDaemon) -> None:
    for name in (HUNG, "over"):
        daemon.submit(program(name, "exit 3"))
        daemon.wait(name, State.FAILED)
    daemon.stop()
    path = daemon.folder(HUNG) / "events.jsonl"
    path.rename(path.with_name("kept"))
    os.mkfifo(path)
    daemon.start()
    assert {job.context.name: job.runtime.state for job in daemon.jobs()} == {
        HUNG: State.DAMAGED,
        "over": State.FAILED,
    }
    assert "its volume does not answer within 20 s" in str(daemon.job(HUNG).runtime.reason)
    assert any("Damaged jobs: hung" in reason for reason in daemon.info().degraded)
    daemon.submit(program("next", """echo '{"files": []}' > result.json"""))
    daemon.wait("next", State.COMPLETED)
    daemon.stop()
    path.with_name("kept").rename(path)
    daemon.start()
    assert daemon.job(HUNG).runtime.state is State.FAILED
