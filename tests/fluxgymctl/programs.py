# SPDX-License-Identifier: Apache-2.0
"""Shell scripts as jobs, which take milliseconds, and helpers for the tests of the queue."""

from pathlib import Path

from tests.daemon.running import RunningDaemon
from tests.fluxgymctl.program import ctl

RESULT = """printf '{"files": []}' >result.json"""
"""What a program writes last (see Context.program in the interface)."""


def submit(daemon: RunningDaemon, name: str, *flags: str, script: str = RESULT) -> None:
    """Queues a shell script as a job."""
    done = ctl("submit", name, *flags, "--", "sh", "-c", script, socket=daemon.socket)
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{name}\n", ""), done.stderr


def until_there(file: Path) -> str:
    """A script that exits successfully once the file exists."""
    return f"until [ -e {file} ]; do sleep 0.05; done; {RESULT}"


def facts(daemon: RunningDaemon, name: str) -> dict[str, str]:
    """The output of `status`, by label."""
    done = ctl("status", name, socket=daemon.socket)
    assert (done.returncode, done.stderr) == (0, "")
    return {label: value.strip() for label, _, value in (line.partition(":") for line in done.stdout.splitlines())}
