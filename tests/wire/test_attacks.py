# SPDX-License-Identifier: Apache-2.0
"""Promise 10 under each kind of hostile client: other clients get answers, jobs run, memory is bounded, nothing is
left."""

import contextlib
from pathlib import Path

import pytest

from tests.daemon.running import RunningDaemon
from tests.harness.waiting import until
from tests.wire.attacks import ATTACKS
from tests.wire.conftest import WAITING
from tests.wire.observing import Bystander, attacked, process_of, runs_a_job

CALLS = 60
GROWTH_BYTES = 96 * 1024 * 1024
"""A third of this is the limit for all data in connections. The rest is for the data that is being read, and for the
number of connections. The attacks offer hundreds of megabytes at a time."""
LATE_SECONDS = 1.0
LATE_FACTOR = 10


def open_files(pid: int) -> list[str]:
    """What the descriptors of the process refer to, except those that are closed meanwhile."""
    files = []
    for descriptor in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            files.append(str(descriptor.readlink()))
    return sorted(files)


@pytest.mark.parametrize("attack", ATTACKS)
def test_promise_10_the_daemon_survives(attack: str, daemon: RunningDaemon) -> None:
    with Bystander(daemon) as bystander:
        bystander.has_made(CALLS)
        runs_a_job(daemon, "quiet")
    quiet = bystander.seen
    process = process_of(daemon)
    before = open_files(process.pid)

    with attacked(daemon, attack, WAITING) as attacker:
        with Bystander(daemon) as bystander:
            runs_a_job(daemon, "attacked")
            bystander.has_made(CALLS)
        assert attacker.poll() is None, "the attack has ended by itself"
    seen = bystander.seen
    print(f"{attack}: quiet {quiet}, attacked {seen}")

    assert seen.largest_rss - quiet.largest_rss < GROWTH_BYTES
    assert seen.loop_late < LATE_SECONDS + LATE_FACTOR * quiet.loop_late
    try:
        until(lambda: len(open_files(process.pid)) <= len(before), what="the descriptors to come back")
    except AssertionError as error:
        raise AssertionError(f"{error}\nbefore: {before}\nafter: {open_files(process.pid)}") from None
    assert "Traceback" not in daemon.log.read_text()
