# SPDX-License-Identifier: Apache-2.0
"""The daemon as started by the real units, in a user manager that belongs to the test."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from tests.daemon.running import ROOT, TRAINER_PYTHON, Asked
from tests.harness.user_manager import UserManager
from tests.harness.waiting import until

SERVICE = "fluxgymd.service"
SOCKET = "fluxgymd.socket"


class InstalledDaemon(Asked):
    """The daemon, started by the files of `units/` unchanged; a wrapper script is installed at the path they name."""

    def __init__(self, manager: UserManager, *, drop_in: str = "", trainer_python: Path = TRAINER_PYTHON) -> None:
        home = manager.home / ".local" / "share" / "fluxgym"
        super().__init__(home=home, socket=manager.runtime_directory / "fluxgym" / "fluxgymd.sock")
        self.manager = manager
        self.log = manager.directory / "daemon.log"  # this user manager has no journal
        units = manager.home / ".config" / "systemd" / "user"
        shutil.copytree(ROOT / "units", units, dirs_exist_ok=True)
        if drop_in:
            (units / f"{SERVICE}.d").mkdir()
            (units / f"{SERVICE}.d" / "test.conf").write_text(drop_in)
        program = manager.home / ".local" / "bin" / "fluxgymd"
        program.parent.mkdir(parents=True)
        program.write_text(
            f"#!/bin/sh\nexport PYTHONPATH={ROOT} FLUXGYM_TRAINER_PYTHON={trainer_python} OMP_NUM_THREADS=1\n"
            f'exec {sys.executable} -m fluxgymd "$@" 2>>{self.log}\n'
        )
        program.chmod(0o755)
        manager.daemon_reload()
        manager.systemctl("start", SOCKET, SERVICE)

    @property
    def pid(self) -> int:
        """The daemon's pid in its own pid namespace; 0 while it is not running."""
        return int(self.manager.show(SERVICE, "MainPID"))

    def kill(self) -> None:
        """Kills the daemon with SIGKILL; returns once systemd has started another."""
        before = self.pid
        self.manager.systemctl("kill", "--kill-whom=main", "--signal=KILL", SERVICE)
        self.wait_for_another(before)

    def wait_for_another(self, before: int) -> None:
        def another() -> bool:
            active = self.manager.show(SERVICE, "ActiveState") == "active"
            return active and self.pid not in (0, before)

        until(another, what="systemd to start another fluxgymd")

    def unit_of(self, name: str) -> str:
        """The scope of the job's latest attempt."""
        attempt = self.job(name).runtime.attempt
        assert attempt is not None
        return attempt.unit

    def running_scopes(self) -> list[str]:
        """The scopes of jobs that systemd currently has loaded."""
        table = self.manager.systemctl("list-units", "--plain", "--no-legend", "fluxgym-*.scope").stdout
        return [Path(line.split()[0]).name for line in table.splitlines() if line.strip()]
