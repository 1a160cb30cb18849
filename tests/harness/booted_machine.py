# SPDX-License-Identifier: Apache-2.0
"""A complete booted Debian in about a second: systemd as PID 1, journald, logind, linger, reboot, its own boot id.

Its disk is a throw-away overlay, either over this machine's root, so that what is installed here exists there under
the same path, or over another system's root (debian_13.py). The checkout, including its environments, has an overlay
of its own at its usual path. The machine has no network except loopback. Its disk is a tmpfs: `crash` followed by
`up` tests the recovery after a power cut, but not whether data was durable.

Invariant: it runs inside a `Namespace`, so nothing of it outlives `close` or the test run.
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
from tests.harness.namespace import SYSTEM_PATH, Namespace, Output, children_of, finish
from tests.harness.waiting import DEADLINE_SECONDS, until

CHECKOUT = Path(__file__).resolve().parents[2]


class BootedMachine:
    """A booted machine: `with BootedMachine() as machine:`.

    root     the machine's root directory as seen from the test, even while the machine is down; do not resolve it
             (realpath), since it leads through a link in /proc into another mount namespace
    console  the file with the console's output
    """

    def __init__(self, disk: Path = Path("/"), *, shared: Path | None = None) -> None:
        """`disk`: the root directory to boot from, which stays unchanged. `shared`: a folder of this machine that is
        the same folder inside, under the same path, like a volume that several machines mount."""
        if shutil.which("systemd-nspawn") is None:
            raise FileNotFoundError("the booted machine needs Debian's package systemd-container")
        self._lower = disk
        self._shared = shared
        self.namespace = Namespace()
        self.directory = Path(tempfile.mkdtemp(prefix="fg-"))
        self.console = self.directory / "console.log"
        self.root = self.namespace.path(self.directory / "root")
        self._nspawn: subprocess.Popen[str] | None = None

    def __enter__(self) -> Self:
        try:
            self._make_disk()
            self.up()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Ends the machine without a shutdown and deletes its disk."""
        self.namespace.close()
        shutil.rmtree(self.directory)

    def up(self) -> None:
        """Boots; returns when the machine is running."""
        group = self.namespace.group / "machine"
        if group.exists():
            cgroups.remove_group(group)  # groups of an earlier boot
        with self.console.open("a") as console:
            self._nspawn = self.namespace.popen(
                [
                    "systemd-nspawn",
                    *("--directory", self.directory / "root"),
                    *("--overlay", _colons(CHECKOUT, self.directory / "disk/checkout", CHECKOUT)),
                    *(("--bind", _colons(self._shared)) if self._shared is not None else ()),
                    *("--machine", "booted"),
                    *("--console", "pipe"),
                    *("--link-journal", "no"),
                    "--boot",
                    "--private-network",
                    "--register=no",
                    "--keep-unit",
                ],
                group=group,
                env={
                    "PATH": SYSTEM_PATH,
                    "SYSTEMD_NSPAWN_UNIFIED_HIERARCHY": "1",
                    "SYSTEMD_NSPAWN_TMPFS_TMP": "0",  # otherwise a checkout below /tmp could not be mounted
                },
                stdout=console,
                stderr=console,
            )
        try:
            until(self._is_up, what="the machine to be up")
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.console.read_text(errors='replace')[-4000:]}") from None

    def reboot(self) -> None:
        """Reboots in the orderly way: services are stopped, and the disk is kept."""
        self.run(["systemctl", "reboot"], check=False)  # the machine may end before the command does
        assert self._nspawn is not None
        self._nspawn.wait(timeout=DEADLINE_SECONDS)
        self.up()

    def crash(self) -> None:
        """Simulates a power cut: every process inside dies at once. `up` boots the same disk again."""
        assert self._nspawn is not None
        os.kill(self.leader, signal.SIGKILL)
        self._nspawn.wait(timeout=DEADLINE_SECONDS)

    @property
    def leader(self) -> int:
        """The machine's PID 1 as seen from here. Raises LookupError while there is none."""
        assert self._nspawn is not None
        waiting = [self._nspawn.pid]
        while waiting:
            pid = waiting.pop()
            if _pid_of_own_namespace(pid) == 1:
                return pid
            waiting += children_of(pid)
        raise LookupError("the machine has no PID 1")

    def boot_id(self) -> str:
        return self.run(["cat", "/proc/sys/kernel/random/boot_id"]).stdout.strip()

    def add_user(self, name: str, *, linger: bool = True) -> int:
        """Creates an ordinary user; returns the uid. With `linger`, waits until the user's manager is up."""
        self.run(["useradd", "--create-home", "--shell", "/bin/bash", name])
        if linger:
            self.run(["loginctl", "enable-linger", name])
            self.wait_for_user(name)
        return self.uid_of(name)

    def wait_for_user(self, name: str) -> None:
        """Waits until the user's manager is up, which linger or a login starts."""
        until(lambda: self._user_is_up(name), what=f"the user manager of {name}")

    def uid_of(self, name: str) -> int:
        return int(self.run(["id", "--user", name]).stdout)

    def popen(
        self,
        command: Sequence[str | Path],
        *,
        user: str | None = None,
        env: Mapping[str, str] | None = None,
        cwd: str | Path = "/",
        stdin: Output = subprocess.DEVNULL,
        stdout: Output = None,
        stderr: Output = None,
    ) -> subprocess.Popen[str]:
        """Starts a command inside, as root or as `user` with the environment of a login session.

        It runs in PID 1's own cgroup. To run something in one of the user's units, use `systemd-run --user`.
        """
        environment, prefix = _root_environment(), []
        if user is not None:
            environment = self._environment_of(user)
            prefix = ["setpriv", f"--reuid={user}", f"--regid={user}", "--init-groups", "--"]
        leader = self.leader
        return self.namespace.popen(
            [*prefix, *command],
            group=cgroups.group_of(leader),
            pid=leader,
            env={**environment, **(env or {})},
            cwd=cwd,
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
        )

    def run(
        self,
        command: Sequence[str | Path],
        *,
        user: str | None = None,
        env: Mapping[str, str] | None = None,
        cwd: str | Path = "/",
        input_text: str | None = None,
        check: bool = True,
        timeout: float = 180.0,
    ) -> subprocess.CompletedProcess[str]:
        """Runs a command inside until it ends. With `check`, a failure raises AssertionError with its output."""
        process = self.popen(
            command,
            user=user,
            env=env,
            cwd=cwd,
            stdin=subprocess.DEVNULL if input_text is None else subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        return finish(process, command=command, check=check, timeout=timeout, input_text=input_text)

    def _make_disk(self) -> None:
        """Mounts an overlay over the root to boot from; its upper layer is in a tmpfs that lasts until `close`."""
        disk, root = self.directory / "disk", self.directory / "root"
        disk.mkdir()
        root.mkdir()
        self._run_outside("mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", disk)
        self._run_outside("mkdir", disk / "upper", disk / "work", disk / "checkout")
        layers = f"lowerdir={self._lower},upperdir={disk / 'upper'},workdir={disk / 'work'}"
        self._run_outside("mount", "-t", "overlay", "-o", layers, "overlay", root)
        for folder in reversed(CHECKOUT.parents):
            inside = self.root / folder.relative_to("/")
            inside.mkdir(exist_ok=True)  # the overlay does not include mounts below its root
            inside.chmod(inside.stat().st_mode | 0o055)  # the checkout may be in a folder only for root (/root)
        # The checkout may be in /tmp, which a boot would empty, or hide under a tmpfs (Debian 13).
        (self.root / "etc/tmpfiles.d/tmp.conf").write_text("")
        (self.root / "etc/systemd/system/tmp.mount").symlink_to("/dev/null")
        (self.root / "etc/machine-id").write_text("")  # gives the machine an id and a journal of its own
        # Users can read their own journal only if it is kept on disk.
        (self.root / "var/log/journal").mkdir(parents=True, exist_ok=True)
        for wanted in (self.root / "etc/systemd/system").glob("*.wants"):
            shutil.rmtree(wanted)  # do not start what this host has enabled, such as a database

    def _run_outside(self, *command: str | Path) -> None:
        """Runs a command in the namespace but outside the machine, which need not be running."""
        process = self.namespace.popen(
            command,
            group=self.namespace.group / "init",
            env={"PATH": SYSTEM_PATH},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        finish(process, command=command, check=True, timeout=DEADLINE_SECONDS, input_text=None)

    def _is_up(self) -> bool:
        assert self._nspawn is not None
        if self._nspawn.poll() is not None:
            raise AssertionError(f"the machine ended with {self._nspawn.returncode}")
        try:
            state = self.run(["systemctl", "is-system-running"], check=False).stdout.strip()
        except (OSError, LookupError):  # not up yet
            return False
        return state in ("running", "degraded")

    def _user_is_up(self, name: str) -> bool:
        command = ["systemctl", "--user", "is-system-running"]
        return self.run(command, user=name, check=False).stdout.strip() in ("running", "degraded")

    def _environment_of(self, user: str) -> dict[str, str]:
        """The environment of the user's login. The user exists in the machine's passwd file, not in the host's."""
        lines = (self.root / "etc/passwd").read_text().splitlines()
        _, _, uid, _, _, home, shell = next(line for line in lines if line.startswith(f"{user}:")).split(":")
        return {
            **_root_environment(),
            "HOME": home,
            "USER": user,
            "LOGNAME": user,
            "SHELL": shell,
            "XDG_RUNTIME_DIR": f"/run/user/{uid}",
            "DBUS_SESSION_BUS_ADDRESS": f"unix:path=/run/user/{uid}/bus",
        }


def _colons(*paths: Path) -> str:
    """Joins paths in the way that systemd-nspawn expects several in one argument."""
    return ":".join(str(path).replace(":", "\\:") for path in paths)


def _root_environment() -> dict[str, str]:
    return {"PATH": SYSTEM_PATH, "HOME": "/root", "USER": "root", "LOGNAME": "root", "LANG": "C.UTF-8"}


def _pid_of_own_namespace(pid: int) -> int:
    """The pid of a process in its innermost pid namespace."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("NSpid:"):
            return int(line.split()[-1])
    raise RuntimeError("this kernel tells no NSpid")
