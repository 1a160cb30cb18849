# SPDX-License-Identifier: Apache-2.0
"""One user manager for the whole contract suite; daemons for each test, once per adapter."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.attempts.daemons import Daemon
from tests.harness.user_manager import UserManager

NewDaemon = Callable[..., Daemon]


@pytest.fixture(scope="package")
def manager() -> Iterator[UserManager]:
    """A user manager that tests share. A test that breaks the manager uses `user_manager` instead."""
    with UserManager() as started:
        yield started


@pytest.fixture(params=["scope", "process"])
def kind(request: pytest.FixtureRequest) -> str:
    """The adapter's name."""
    return str(request.param)


@pytest.fixture
def new_daemon(manager: UserManager, kind: str) -> Iterator[NewDaemon]:
    """Returns a function that starts daemons with this adapter."""
    started: list[Daemon] = []

    def start(**options: object) -> Daemon:
        daemon = Daemon(manager, kind, **options)  # type: ignore[arg-type]
        started.append(daemon)
        return daemon

    yield start
    for daemon in started:
        daemon.close()


@pytest.fixture
def daemon(new_daemon: NewDaemon) -> Daemon:
    return new_daemon()


@pytest.fixture
def signal_file(manager: UserManager, request: pytest.FixtureRequest) -> Path:
    """A file that a trainer waits for. It does not exist yet."""
    return manager.directory / f"go-{abs(hash(request.node.nodeid))}"
