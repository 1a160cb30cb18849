# SPDX-License-Identifier: Apache-2.0
"""Where a daemon's file is not a regular file, the daemon says so, does not block, and creates no link's target."""

import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from fluxgym.errors import StorageFailed
from fluxgym.protocol import methods as m
from fluxgym.protocol.client import Connection
from fluxgym.protocol.messages import State
from tests.daemon.running import RunningDaemon, program
from tests.harness.waiting import until


def test_promise_8_a_path_that_is_not_a_file_is_reported_and_not_waited_for(daemon: RunningDaemon) -> None:
    for name in ("piped", "over"):
        daemon.submit(program(name, "exit 3"))
        daemon.wait(name, State.FAILED)
    log = daemon.folder("piped") / "training.log"
    log.unlink()
    os.mkfifo(log)
    refusal = f"{log} cannot be read: it is a FIFO, not a regular file."
    with Connection(daemon.socket) as connection, pytest.raises(StorageFailed, match=re.escape(refusal)):
        list(connection.stream(m.LOGS, m.LogsParameters(name="piped", offset=0)))
    daemon.stop()
    journal = daemon.folder("piped") / "events.jsonl"
    journal.unlink()
    journal.symlink_to("nowhere")
    daemon.start()
    assert daemon.job("over").runtime.state is State.FAILED
    assert "it is a link to a file that does not exist" in str(daemon.job("piped").runtime.reason)
    assert not (daemon.folder("piped") / "nowhere").exists()


@pytest.mark.parametrize("make", [os.mkfifo, lambda path: path.symlink_to("nowhere"), Path.mkdir])
def test_a_job_whose_log_is_not_a_file_waits_and_says_so(daemon: RunningDaemon, make: Callable[[Path], None]) -> None:
    daemon.submit(program("piped", "exit 3"))
    daemon.wait("piped", State.FAILED)
    log = daemon.folder("piped") / "training.log"
    log.unlink()
    make(log)
    refusal = f"{log} cannot be written: it is a "
    daemon.call(m.RESUME, m.ResumeParameters(name="piped"))
    until(lambda: refusal in str(daemon.job("piped").runtime.reason), what="the reason")
    assert daemon.job("piped").runtime.waiting_for is not None
    assert not (daemon.folder("piped") / "nowhere").exists()
    log.rename(log.with_name("moved"))
    assert daemon.wait("piped", State.FAILED).runtime.reason == "It exited with status 3."


@pytest.mark.parametrize("name", ["owner.json", ".lock"])
def test_a_daemon_says_what_keeps_it_from_its_home(daemon: RunningDaemon, name: str) -> None:
    daemon.stop()
    (daemon.home / name).unlink(missing_ok=True)
    os.mkfifo(daemon.home / name)
    refusal = f"fluxgymd: {daemon.home / name} cannot be used: it is a FIFO, not a regular file."
    with pytest.raises(AssertionError, match=rf"(?s)left with 5.*{re.escape(refusal)}"):
        daemon.start()
    daemon.process = None
    (daemon.home / name).unlink()
