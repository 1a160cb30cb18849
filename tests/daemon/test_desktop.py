# SPDX-License-Identifier: Apache-2.0
"""A real daemon tells the desktop what it tells the hooks, on a real session bus."""

from __future__ import annotations

from pathlib import Path

import pytest

from fluxgym.protocol.messages import State
from tests.daemon.hook_scripts import keeps, kept
from tests.daemon.running import RunningDaemon, program
from tests.harness.user_manager import UserManager
from tests.hooks.desktop_service import DesktopService, Shown

pytestmark = pytest.mark.systemd

ADDRESS = "DBUS_SESSION_BUS_ADDRESS"


def test_a_daemon_tells_the_desktop_unless_it_is_off(user_manager: UserManager, folder: Path) -> None:
    env = {ADDRESS: user_manager.environment[ADDRESS], "FLUXGYM_HOOKS_ON_FINISH": str(keeps(folder, "finish"))}
    arguments = ("--supervisor", "process")
    with DesktopService(env[ADDRESS]) as service:
        off = env | {"FLUXGYM_NOTIFY_DESKTOP": "off"}
        with RunningDaemon(folder, arguments=arguments, env=off) as daemon:
            daemon.submit(program("quiet"))
            kept(folder, "finish")
            assert service.shown.empty()
        with RunningDaemon(folder, arguments=arguments, env=env) as daemon:
            daemon.submit(program("loud"))
            assert service.next() == Shown("FluxGym", "FluxGym: loud finished successfully", "")
            daemon.submit(program("bad", "exit 3"))
            daemon.wait("bad", State.FAILED)
            shown = service.next()
            assert shown.title == "FluxGym: bad failed"
            assert shown.body == "It exited with status 3."
