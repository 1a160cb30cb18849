# SPDX-License-Identifier: Apache-2.0
"""Programs as jobs, which take milliseconds, and what the tests of the queue ask of them."""

from pathlib import Path

from tests.daemon.running import RunningDaemon
from tests.fluxgymctl.program import ctl

RESULT = """printf '{"files": []}' >result.json"""
"""What a program writes last (the interface: Context.program)."""


def submit(daemon: RunningDaemon, name: str, *flags: str, script: str = RESULT) -> None:
    """Queues a shell script as a job."""
    done = ctl("submit", name, *flags, "--", "sh", "-c", script, socket=daemon.socket)
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{name}\n", ""), done.stderr


def until_there(file: Path) -> str:
    """A script that ends well once the file is there."""
    return f"until [ -e {file} ]; do sleep 0.05; done; {RESULT}"


def facts(daemon: RunningDaemon, name: str) -> dict[str, str]:
    """What `status` says, by its labels."""
    done = ctl("status", name, socket=daemon.socket)
    assert (done.returncode, done.stderr) == (0, "")
    return {label: value.strip() for label, _, value in (line.partition(":") for line in done.stdout.splitlines())}
