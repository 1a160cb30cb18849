# SPDX-License-Identifier: Apache-2.0
"""A real `systemd --user` with its D-Bus session bus, started in about half a second.

There is no journald, no logind and no system manager here (`booted_machine` has them), and the boot id is the host's.
Commands run as root in the manager's own cgroup subtree, so that the manager may move them into units.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.harness import cgroups
from tests.harness.namespace import SYSTEM_PATH, Namespace, Output, finish, kill_command, only_child
from tests.harness.waiting import DEADLINE_SECONDS, until

MANAGER = "/usr/lib/systemd/systemd"


class UserManager:
    """A user manager: `with UserManager() as manager:`. All its files are in `manager.directory`.

    directory          a temporary directory with a path short enough for Unix sockets
    runtime_directory  XDG_RUNTIME_DIR
    home               HOME; XDG_CONFIG_HOME and the like have their defaults below it
    log                the manager's own output
    environment        the environment of commands; a test may add to it
    pid                the manager's process as seen from the test
    """

    def __init__(self) -> None:
        self.namespace = Namespace()
        self.directory = Path(tempfile.mkdtemp(prefix="fg-"))
        self.runtime_directory = self.directory / "run"
        self.home = self.directory / "home"
        self.log = self.directory / "manager.log"
        self.runtime_directory.mkdir(mode=0o700)
        self.home.mkdir(mode=0o700)
        self.environment = {
            "PATH": SYSTEM_PATH,
            "HOME": str(self.home),
            "USER": "root",
            "LOGNAME": "root",
            "SHELL": "/bin/sh",
            "LANG": "C.UTF-8",
            "TMPDIR": str(self.directory),
            "XDG_RUNTIME_DIR": str(self.runtime_directory),
            "DBUS_SESSION_BUS_ADDRESS": f"unix:path={self.runtime_directory}/bus",
        }
        # As on a complete machine, where user@0.service is a unit below the system's manager.
        self.group = self.namespace.group / "user.service"
        self._manager: subprocess.Popen[str] | None = None

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Ends everything inside and removes the directory."""
        self.namespace.close()
        shutil.rmtree(self.directory)

    @property
    def pid(self) -> int:
        assert self._manager is not None
        return only_child(self._manager.pid)

    def start(self) -> None:
        """Starts the manager, including after `kill` or `exit`; returns when it is up."""
        for group in self.group.rglob("dbus.service"):
            for pid in cgroups.processes_in(group):  # a killed manager's bus would delay the new one by 25 s
                os.kill(pid, signal.SIGKILL)
        with self.log.open("a") as log:
            self._manager = self.namespace.popen(
                [MANAGER, "--user"],
                group=self.group,
                env={**self.environment, "SYSTEMD_LOG_TARGET": "console"},
                stdout=log,
                stderr=log,
            )
        try:
            until(self._is_up, what="the user manager to be up")
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.log.read_text()}") from None

    def popen(
        self,
        command: Sequence[str | Path],
        *,
        env: Mapping[str, str] | None = None,
        cwd: str | Path = "/",
        stdin: Output = subprocess.DEVNULL,
        stdout: Output = None,
        stderr: Output = None,
        pass_fds: Sequence[int] = (),
    ) -> subprocess.Popen[str]:
        """Starts a command inside; `env` adds to `environment`. Signals to the Popen object reach the command."""
        return self.namespace.popen(
            command,
            group=self.group / "init.scope",
            env={**self.environment, **(env or {})},
            cwd=cwd,
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            pass_fds=pass_fds,
        )

    def run(
        self,
        command: Sequence[str | Path],
        *,
        env: Mapping[str, str] | None = None,
        cwd: str | Path = "/",
        input_text: str | None = None,
        check: bool = True,
        timeout: float = 120.0,
    ) -> subprocess.CompletedProcess[str]:
        """Runs a command inside until it ends. With `check`, a failure raises AssertionError with its output."""
        process = self.popen(
            command,
            env=env,
            cwd=cwd,
            stdin=subprocess.DEVNULL if input_text is None else subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        return finish(process, command=command, check=check, timeout=timeout, input_text=input_text)

    def send_signal(self, pid: int, number: signal.Signals) -> None:
        self.run(kill_command(pid, number))

    def systemctl(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Runs `systemctl --user`, which uses the manager's private socket and works without the bus."""
        return self.run(["systemctl", "--user", *arguments], check=check)

    def show(self, unit: str, name: str) -> str:
        """The value of one property of a unit."""
        return self.systemctl("show", "--property", name, "--value", unit).stdout.strip()

    def units(self) -> dict[str, str]:
        """The ActiveState of each loaded unit of FluxGym, by name. Unlike `show`, it loads no unit."""
        table = self.systemctl("list-units", "--all", "--plain", "--no-legend", "fluxgym-*").stdout
        return {row[0]: row[2] for row in map(str.split, table.splitlines())}

    def group_of_unit(self, unit: str) -> Path:
        """The unit's cgroup, as a path of the host. The unit must be loaded."""
        return self.namespace.group / self.show(unit, "ControlGroup").lstrip("/")

    def kill_bus(self) -> None:
        """Kills the session bus with SIGKILL; its socket starts another at the next connection."""
        before = self.show("dbus.service", "MainPID")
        self.systemctl("kill", "--signal=KILL", "dbus.service")
        # Waits for a change, not for death: a client that reconnects at once starts another bus before a look.
        until(lambda: self.show("dbus.service", "MainPID") != before, what="the bus to be dead")

    def kill(self) -> None:
        """Kills the user manager with SIGKILL. What it ran lives on; `start` starts another manager."""
        assert self._manager is not None
        os.kill(self.pid, signal.SIGKILL)
        self._manager.wait(timeout=DEADLINE_SECONDS)

    def exit(self) -> None:
        """Ends the manager in the orderly way, as after the last logout; returns when all its units are stopped."""
        assert self._manager is not None
        self.systemctl("exit", check=False)  # the manager may end before it answers
        self._manager.wait(timeout=DEADLINE_SECONDS)

    def daemon_reload(self) -> None:
        self.systemctl("daemon-reload")

    def daemon_reexec(self) -> None:
        self.systemctl("daemon-reexec")

    def _is_up(self) -> bool:
        assert self._manager is not None
        if self._manager.poll() is not None:
            raise AssertionError(f"the user manager ended with {self._manager.returncode}")
        state = self.systemctl("is-system-running", check=False).stdout.strip()
        return state in ("running", "degraded") and (self.runtime_directory / "bus").is_socket()
