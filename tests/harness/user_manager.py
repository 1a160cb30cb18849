# SPDX-License-Identifier: Apache-2.0
"""A real `systemd --user` with its D-Bus session bus; about half a second to start.

There is no journald, no logind and no system manager here (`booted_machine` has those); the boot id is the host's.
Commands run as root, in the manager's own cgroup subtree, as processes that it may move into units by itself.
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
from tests.harness.namespace import SYSTEM_PATH, Namespace, Output, finish, only_child
from tests.harness.waiting import until

MANAGER = "/usr/lib/systemd/systemd"


class UserManager:
    """Started by `with UserManager() as manager:`; everything about it lies in `manager.directory`.

    directory          a temporary directory, short enough for the paths of Unix sockets
    runtime_directory  XDG_RUNTIME_DIR
    home               HOME, with XDG_CONFIG_HOME and the others at their defaults below it
    log                what the manager itself writes
    environment        the environment of the manager's commands; a test may add to it
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
            "XDG_RUNTIME_DIR": str(self.runtime_directory),
            "DBUS_SESSION_BUS_ADDRESS": f"unix:path={self.runtime_directory}/bus",
        }
        # Laid out as on a whole machine, where user@0.service is one unit below the system's manager.
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
        """Starts the manager, also again after `kill` or `systemctl --user exit`; returns when it is up."""
        for group in self.group.rglob("dbus.service"):
            for pid in cgroups.processes_in(group):  # of a killed manager: the new one would wait 25 s for this bus
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
        """Runs a command inside to its end. With `check`, one that fails raises AssertionError with its output."""
        process = self.popen(
            command,
            env=env,
            cwd=cwd,
            stdin=subprocess.DEVNULL if input_text is None else subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        return finish(process, command=command, check=check, timeout=timeout, input_text=input_text)

    def systemctl(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """`systemctl --user`; it talks to the manager's private socket and works without the bus."""
        return self.run(["systemctl", "--user", *arguments], check=check)

    def show(self, unit: str, name: str) -> str:
        """One property of a unit."""
        return self.systemctl("show", "--property", name, "--value", unit).stdout.strip()

    def group_of_unit(self, unit: str) -> Path:
        """The unit's cgroup, as a path of the host; `unit` has to be loaded."""
        return self.namespace.group / self.show(unit, "ControlGroup").lstrip("/")

    def kill_bus(self) -> None:
        """kill -9 of the session bus; its socket starts another at the next connection."""
        before = self.show("dbus.service", "MainPID")
        self.systemctl("kill", "--signal=KILL", "dbus.service")
        # Not "until it is dead": who reconnects at once starts another before anybody has looked.
        until(lambda: self.show("dbus.service", "MainPID") != before, what="the bus to be dead")

    def kill(self) -> None:
        """kill -9 of the user manager. What it ran lives on; `start` starts another manager."""
        assert self._manager is not None
        os.kill(self.pid, signal.SIGKILL)
        self._manager.wait()

    def exit(self) -> None:
        """An orderly end, as at the last log-out; returns when all its units are stopped. `start` starts another."""
        assert self._manager is not None
        self.systemctl("exit", check=False)  # its answer may be cut off by the end itself
        self._manager.wait(timeout=180)

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
