# SPDX-License-Identifier: Apache-2.0
"""Watching a home with many jobs: what the present state contains, and what a client receives afterwards."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from fluxgym.errors import InvalidParameter
from fluxgym.protocol import methods as m
from fluxgym.protocol.client import Connection
from tests.core import histories as h
from tests.daemon.running import RunningDaemon, program
from tests.jobs.journals import encoded, put

OLD = [f"old-{number:04d}" for number in range(400)]
GOES_ON = ("old-0000-held", "old-0100-held")


@pytest.fixture
def daemon(folder: Path) -> RunningDaemon:
    """A daemon, not started yet, whose home has many jobs that have ended, and a few that have not."""
    for name in OLD:
        put(folder / "home", name, encoded(name, h.WAYS["completed"]))
    for name in GOES_ON:
        put(folder / "home", name, encoded(name, h.WAYS["held"]))
    put(folder / "home", "broken", [b"garbage\n"])
    return RunningDaemon(folder, arguments=("--supervisor", "process"))


def present(connection: Connection, **parameters: Any) -> list[str]:
    """The names in the present state, up to the reply that says it is complete."""
    names: list[str] = []
    for reply in connection.stream(m.WATCH, m.WatchParameters(**parameters)):
        if reply.job is None:
            return names
        names.append(reply.job.context.name)
    raise AssertionError("the stream ended")


@pytest.mark.parametrize("limit", [0, 3, 10_000])
def test_the_present_state_has_all_current_jobs_and_the_newest_ended_ones(daemon: RunningDaemon, limit: int) -> None:
    with daemon, Connection(daemon.socket) as connection:
        expected = ["broken", *sorted([*(OLD[-limit:] if limit else []), *GOES_ON])]
        assert present(connection, limit=limit) == expected


def test_all_jobs_come_without_a_limit_and_one_job_comes_whatever_the_limit(daemon: RunningDaemon) -> None:
    with daemon:
        with Connection(daemon.socket) as connection:
            assert len(present(connection)) == len(OLD) + 3
        with Connection(daemon.socket) as connection:
            assert present(connection, name=OLD[0], limit=0) == [OLD[0]]
        with Connection(daemon.socket) as connection, pytest.raises(InvalidParameter, match="parameter limit"):
            present(connection, limit=-1)


def test_a_change_of_a_job_beyond_the_limit_is_reported(daemon: RunningDaemon) -> None:
    with daemon, Connection(daemon.socket) as connection:
        replies = connection.stream(m.WATCH, m.WatchParameters(limit=0))
        while next(replies).job is not None:
            pass
        daemon.call(m.REMOVE, m.JobName(name=OLD[0]))
        assert next(reply.removed for reply in replies if reply.removed is not None) == OLD[0]
        daemon.submit(program("new", held=True))
        assert any(reply.job is not None and reply.job.context.name == "new" for reply in replies)
