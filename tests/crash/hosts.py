# SPDX-License-Identifier: Apache-2.0
"""Hosts for the daemon of a soak: a real user manager, or a plain process. A host also carries out the kills.

The host kills from outside: it sees every process, and needs no help from inside. Kills start no process and are
therefore safe from any thread; restarts are not.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Protocol

import psutil

from tests.crash.trainers import WatchedTrainers
from tests.daemon.installed import SERVICE, InstalledDaemon
from tests.daemon.running import Asked, RunningDaemon
from tests.harness import cgroups
from tests.harness.namespace import SYSTEM_PATH, Namespace, finish
from tests.harness.user_manager import UserManager
from tests.harness.waiting import DEADLINE_SECONDS, join, until

AWAKE_SECONDS = 1.0
DROP_IN = """[Unit]
StartLimitIntervalSec=0
[Service]
RestartSec=100ms
"""
BUS_DROP_IN = """[Unit]
StartLimitIntervalSec=0
"""
"""Lifts the bus's start limit of 5 in 10 s, which the soak's kills would otherwise reach."""
DISK = ("-t", "tmpfs", "-o", f"size={128 << 20},mode=700", "fluxgym-test")
"""Arguments for mount(8). Each home is on a disk of its own, so that the disk can be filled."""
SHIM = "shim.py"
DAEMON = "-m fluxgymd"


class Host(Protocol):
    """`daemon.home`: the home as seen from the test. `log`: the daemon's log."""

    @property
    def daemon(self) -> Asked: ...

    @property
    def log(self) -> Path: ...

    @property
    def trainers(self) -> WatchedTrainers: ...

    @property
    def kills(self) -> Mapping[str, Callable[[], None]]: ...

    @property
    def restarts(self) -> Mapping[str, Callable[[], object]]: ...

    def revive(self) -> None:
        """Starts a daemon if none is running and no service manager will start one."""

    def memory(self) -> int:
        """The daemon's resident memory in bytes; 0 if it is not running."""

    def check_nothing_left(self) -> None:
        """Once all jobs are removed: checks that none of their processes is left."""

    def close(self) -> None: ...


class ManagerHost:
    """The installed daemon in its own user manager. `words`: text in the command lines of what the shims run."""

    def __init__(self, words: str) -> None:
        self._over = threading.Event()
        self._awake = threading.Thread(target=self._keep_awake, name="keep-awake")
        self.manager = UserManager()
        try:
            self.manager.start()
            self._awake.start()
            self.trainers = WatchedTrainers(self.manager.directory / "trainers")
            for unit in ("dbus.service", "dbus.socket"):
                drop_ins = self.manager.home / ".config" / "systemd" / "user" / f"{unit}.d"
                drop_ins.mkdir(parents=True)
                (drop_ins / "test.conf").write_text(BUS_DROP_IN)
            home = self.manager.home / ".local" / "share" / "fluxgym"
            home.mkdir(parents=True)
            self.manager.run(["mount", *DISK, home])
            self.daemon = InstalledDaemon(self.manager, drop_in=DROP_IN, trainer_python=self.trainers.python)
            self.daemon.home = self.manager.namespace.path(home)
            self.log = self.daemon.log
        except BaseException:
            self.close()
            raise
        self.kills = {
            "kill daemon": lambda: self._kill(SERVICE, DAEMON),
            "kill shim": lambda: self._kill("fluxgym-*.scope", SHIM),
            "kill trainer": lambda: self._kill("fluxgym-*.scope", words),
            "kill bus": lambda: self._kill("dbus.service", "dbus-daemon"),
        }
        self.restarts = {
            "restart daemon": self._restart,
            "reload systemd": self.manager.daemon_reload,
            "re-execute systemd": self.manager.daemon_reexec,
        }

    def revive(self) -> None:
        """Does nothing, since systemd restarts the daemon."""

    def memory(self) -> int:
        return max(map(_memory, self._groups(SERVICE)), default=0)

    def check_nothing_left(self) -> None:
        until(lambda: not self.daemon.running_scopes(), what="the scopes to go")

    def close(self) -> None:
        self._over.set()
        if self._awake.is_alive():
            join(self._awake)
        self.manager.close()

    def _keep_awake(self) -> None:
        """Wakes systemd regularly by connecting to it and sending nothing: without that, systemd 252 may not restart
        a service that died together with the bus (docs/decisions/failpoints.md)."""
        while not self._over.wait(AWAKE_SECONDS):
            with socket.socket(socket.AF_UNIX) as visitor, contextlib.suppress(OSError):
                visitor.connect(str(self.manager.runtime_directory / "systemd" / "private"))

    def _restart(self) -> None:
        """If systemd 252 is asked just as the bus dies, it may wait 90 s for that bus and then refuse."""

        def restarted() -> bool:
            done = self.manager.systemctl("restart", SERVICE, check=False)
            assert done.returncode == 0 or "Transport endpoint is not connected" in done.stderr, done.stderr
            return done.returncode == 0

        until(restarted, what="systemd to restart the daemon")

    def _groups(self, unit: str) -> Iterator[Path]:
        """The cgroups of the units whose names match this glob pattern."""
        return self.manager.namespace.group.rglob(unit)

    def _kill(self, unit: str, words: str) -> None:
        for group in self._groups(unit):
            _kill(group, words)


class PlainHost:
    """A daemon without a service manager, as in a pod. `words`: as for ManagerHost."""

    def __init__(self, words: str) -> None:
        self._words = words
        self._folder = Path(tempfile.mkdtemp(prefix="fg-"))
        self._namespace = Namespace()
        self._group = self._namespace.group / "pod"
        try:
            self.trainers = WatchedTrainers(self._folder / "trainers")
            env = {"FLUXGYM_TRAINER_PYTHON": str(self.trainers.python)}
            home = self._folder / "home"
            self.daemon = RunningDaemon(
                self._folder,
                popen=self._popen,
                arguments=("--supervisor", "process"),
                env=env,
                home_inside=home,
            )
            self.log = self.daemon.log
            home.mkdir()
            mount = ["mount", *DISK, str(home)]
            finish(self._popen(mount, {}), command=mount, check=True, timeout=DEADLINE_SECONDS, input_text=None)
            self.daemon.home = self._namespace.path(home)
            self.daemon.start()
        except BaseException:
            self.close()
            raise
        self.kills = {
            "kill daemon": self._kill_daemon,
            "kill shim": lambda: _kill(self._group, SHIM),
            "kill trainer": lambda: _kill(self._group, words),
        }
        self.restarts = {"restart daemon": self._restart}

    def revive(self) -> None:
        process = self.daemon.process
        if process is not None and process.poll() is not None:
            assert process.returncode == -signal.SIGKILL, self.log.read_text()[-4000:]
            self.daemon.process = None
        if self.daemon.process is None:
            self.daemon.start()

    def memory(self) -> int:
        return _memory(self._group)

    def check_nothing_left(self) -> None:
        until(lambda: not _processes(self._group, SHIM), what="the shims to be gone")
        until(lambda: not _processes(self._group, self._words), what="what they ran to be gone")

    def close(self) -> None:
        self._namespace.close()
        shutil.rmtree(self._folder)

    def _popen(self, command: Sequence[str | Path], env: Mapping[str, str]) -> subprocess.Popen[str]:
        return self._namespace.popen(command, group=self._group, env={"PATH": SYSTEM_PATH, **env})

    def _kill_daemon(self) -> None:
        """Kills the daemon and waits for its end. `revive` can then see that it is dead and start another."""
        process = self.daemon.process
        if process is not None:
            process.kill()
            process.wait(timeout=DEADLINE_SECONDS)

    def _restart(self) -> None:
        self.revive()
        self.daemon.stop()
        self.daemon.start()


def _processes(group: Path, words: str) -> list[int]:
    """The processes of a cgroup whose command lines contain these words, as pids of the host. A shim's own command
    line also contains the words of the program that it runs; shims count only if `words` is SHIM."""
    found = []
    for pid in cgroups.processes_in(group):
        with contextlib.suppress(OSError):
            command = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
            if words in command and (words == SHIM or SHIM not in command):
                found.append(pid)
    return found


def _memory(group: Path) -> int:
    """The memory of the daemon, which is larger than each of its helpers."""
    found = 0
    for pid in _processes(group, DAEMON):
        with contextlib.suppress(psutil.NoSuchProcess):
            found = max(found, psutil.Process(pid).memory_info().rss)
    return found


def _kill(group: Path, words: str) -> None:
    for pid in _processes(group, words):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
