# SPDX-License-Identifier: Apache-2.0
"""The socket outlives the daemon, however often the daemon is restarted and however long it cannot start."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.daemon.installed import SERVICE, SOCKET, InstalledDaemon
from tests.daemon.running import ROOT
from tests.harness.user_manager import UserManager
from tests.harness.waiting import DEADLINE_SECONDS, until

pytestmark = pytest.mark.systemd

OFTEN = 10
"""More starts than systemd allows a unit by default, which is 5 in 10 seconds."""


@pytest.fixture
def daemon(user_manager: UserManager) -> Iterator[InstalledDaemon]:
    daemon = InstalledDaemon(user_manager, drop_in="[Service]\nRestartSec=100ms\n")
    yield daemon
    user_manager.systemctl("stop", SOCKET, SERVICE)


@pytest.mark.parametrize("unit", [SERVICE, SOCKET])
def test_the_daemon_may_be_restarted_any_number_of_times(daemon: InstalledDaemon, unit: str) -> None:
    for _ in range(OFTEN):
        daemon.manager.systemctl("restart", unit)
    assert daemon.info().version
    assert daemon.manager.show(SOCKET, "ActiveState") == "active"


def test_a_client_waits_for_a_daemon_that_cannot_start_and_is_told_so(daemon: InstalledDaemon) -> None:
    config = daemon.manager.home / ".config/fluxgym/config.toml"
    config.parent.mkdir(parents=True)
    config.write_text('[stop]\nlimit_seconds = "soon"\n')
    before = restarts(daemon)
    daemon.manager.systemctl("kill", "--kill-whom=main", "--signal=KILL", SERVICE)
    client = daemon.manager.popen(
        [sys.executable, "-m", "fluxgymctl", "daemon"],
        # The client would refuse the broken file too, so it must not find it.
        env={"PYTHONPATH": str(ROOT), "FLUXGYM_SOCKET": str(daemon.socket), "XDG_CONFIG_HOME": "/none"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert client.stderr is not None
    assert "`systemctl --user status fluxgymd` shows why" in client.stderr.readline()
    until(lambda: restarts(daemon) > before + OFTEN, what="the daemon to have failed often")
    assert "limit_seconds" in daemon.log.read_text()
    assert daemon.manager.show(SOCKET, "ActiveState") == "active"
    config.unlink()
    told, _ = client.communicate(timeout=DEADLINE_SECONDS)
    assert client.returncode == 0
    assert "fluxgymd" in told


def restarts(daemon: InstalledDaemon) -> int:
    return int(daemon.manager.show(SERVICE, "NRestarts"))
