# SPDX-License-Identifier: Apache-2.0
"""The log's copy in the journal, read back from a real journald."""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
from collections.abc import Iterator
from typing import Any

import psutil
import pytest

from tests.attempts.daemons import Attempt, Daemon
from tests.harness import cgroups
from tests.harness.user_manager import UserManager
from tests.harness.waiting import DEADLINE_SECONDS, until

pytestmark = pytest.mark.systemd


@pytest.fixture(scope="module")
def journald(manager: UserManager) -> Iterator[subprocess.Popen[str]]:
    """A journald on the namespace's own /run. As on a complete machine, it looks up each sender's cgroup."""
    process = manager.popen(
        ["/usr/lib/systemd/systemd-journald"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    socket = manager.namespace.path("/run/systemd/journal/socket")
    until(socket.is_socket, what="journald's socket")
    yield process
    process.kill()
    process.wait(timeout=DEADLINE_SECONDS)


def entries(manager: UserManager, attempt: Attempt) -> list[dict[str, Any]]:
    """The journal's entries for the attempt."""
    manager.run(["journalctl", "--sync"])
    wanted = ["FLUXGYM_JOB=test", f"_PID={attempt.shim}"]
    return [json.loads(line) for line in manager.run(["journalctl", "--output=json", *wanted]).stdout.splitlines()]


def signal_journald(manager: UserManager, number: signal.Signals) -> None:
    signalled = 0
    for pid in cgroups.processes_in(manager.namespace.group):
        with contextlib.suppress(psutil.NoSuchProcess):
            process = psutil.Process(pid)
            if process.name() == "systemd-journald":
                process.send_signal(number)
                signalled += 1
    assert signalled == 1


def ended(daemon: Daemon, attempt: Attempt) -> dict[str, Any]:
    daemon.ask("gone", ref=attempt.ref)
    return daemon.conclusion(attempt, "Exited")


@pytest.mark.parametrize("count", [1, 2000])
def test_every_line_arrives_and_belongs_to_the_attempt(
    manager: UserManager, daemon: Daemon, journald: subprocess.Popen[str], count: int
) -> None:
    attempt = daemon.start(f"seq -f 'line %g' {count}; printf 'no end'")
    ended(daemon, attempt)
    found = entries(manager, attempt)
    # journald drops messages above its rate limit, by default 10,000 in 30 s. This test stays below that.
    assert [entry["MESSAGE"] for entry in found] == [*(f"line {n}" for n in range(1, count + 1)), "no end"]
    assert {entry["SYSLOG_IDENTIFIER"] for entry in found} == {"fluxgym-test"}
    assert {entry["PRIORITY"] for entry in found} == {"6"}
    if placed := attempt.ref["placement"].get("cgroup"):
        assert {entry.get("_SYSTEMD_CGROUP") for entry in found} == {placed}, "the last line too"


def test_odd_bytes_arrive_as_text(manager: UserManager, daemon: Daemon, journald: subprocess.Popen[str]) -> None:
    attempt = daemon.start(r"printf 'caf\303\251 \377\n\n   \nPRIORITY=0\nMESSAGE=no\r\nend\n'")
    ended(daemon, attempt)
    found = entries(manager, attempt)
    assert [entry["MESSAGE"] for entry in found] == ["café \ufffd", "PRIORITY=0", "MESSAGE=no", "end"]
    assert {entry["PRIORITY"] for entry in found} == {"6"}


def test_an_end_is_recorded_while_journald_does_not_read(
    manager: UserManager, daemon: Daemon, journald: subprocess.Popen[str]
) -> None:
    signal_journald(manager, signal.SIGSTOP)
    try:
        attempt = daemon.start("seq 100000; exit 42")
        assert ended(daemon, attempt)["exit"]["code"] == 42
    finally:
        signal_journald(manager, signal.SIGCONT)
    assert attempt.log.read_text().splitlines()[-1] == "100000"
