# SPDX-License-Identifier: Apache-2.0
"""A test's own environment for processes: mount, pid, ipc and cgroup namespaces with a fresh cgroup2 tree.

Invariant: when `close` returns, everything that ran inside is gone, including its mounts and cgroups; and when the
test run is killed, the kernel ends all of it. Paths are the host's, except that /run is empty: what a test puts under
its temporary directory, including Unix sockets, has the same name inside and outside.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from tests.harness import cgroups
from tests.harness.waiting import DEADLINE_SECONDS

TOOL = Path(__file__).with_name("namespace_tool.py")
SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

Output = int | IO[str] | None


class Namespace:
    """Use it as a context manager, from the main thread: a child dies with the thread that created it."""

    def __init__(self) -> None:
        need_root()
        self.group = cgroups.make_group()
        self.pid_1 = 0
        self._started: list[subprocess.Popen[str]] = []
        self._keeper = subprocess.Popen(
            [*_tool("make"), str(self.group)], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True
        )
        assert self._keeper.stdout is not None
        if self._keeper.stdout.readline() != "ready\n":
            self.close()
            raise RuntimeError("the namespaces could not be made; the reason stands above")
        self.pid_1 = only_child(self._keeper.pid)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Ends every process inside and removes the cgroups."""
        # All other processes die with PID 1. Its parent reaps it, since not every host's PID 1 does.
        os.kill(self.pid_1 or self._keeper.pid, signal.SIGKILL)
        for process in (self._keeper, *self._started):
            process.wait(timeout=DEADLINE_SECONDS)
            close_pipes(process)
        cgroups.remove_group(self.group)

    def path(self, inside: str | Path) -> Path:
        """The path outside for a path inside, even below a mount such as /run."""
        return Path(f"/proc/{self.pid_1}/root") / str(inside).lstrip("/")

    def popen(
        self,
        command: Sequence[str | Path],
        *,
        group: Path,
        env: Mapping[str, str],
        cwd: str | Path = "/",
        pid: int | None = None,
        stdin: Output = subprocess.DEVNULL,
        stdout: Output = None,
        stderr: Output = None,
        pass_fds: Sequence[int] = (),
    ) -> subprocess.Popen[str]:
        """Starts a command inside; the Popen object behaves as if the command were its own child.

        group  the cgroup in which it starts, as a path of the host; created if missing
        pid    a process whose namespaces it joins, for deeper ones than those of PID 1 (the default)
        """
        group.mkdir(exist_ok=True)
        process = subprocess.Popen(
            [*_tool("enter"), str(pid or self.pid_1), str(group), str(cwd), *map(str, command)],
            env=dict(env),
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            pass_fds=pass_fds,
            text=True,
            start_new_session=True,  # ^C at the terminal is for the test run, which then ends everything inside
        )
        self._started.append(process)
        return process


def need_root(what: str = "starts a real systemd in namespaces of its own") -> None:
    """Raises PermissionError, which says what to do, unless run by root. `what`: completes "this test ..."."""
    if os.geteuid() != 0:
        raise PermissionError(f"this test {what} and needs root; `./dev test` takes sudo")


def kill_command(pid: int, number: signal.Signals) -> list[str]:
    """Signals a process inside, by its pid there. Uses the shell's `kill`, since a minimal Debian has no other."""
    return ["/bin/sh", "-c", f"kill -{number.value} {pid}"]


def finish(
    process: subprocess.Popen[str],
    *,
    command: Sequence[str | Path],
    check: bool,
    timeout: float,
    input_text: str | None,
) -> subprocess.CompletedProcess[str]:
    """Waits until a command ends. With `check`, a failure raises AssertionError with the command's output."""
    try:
        stdout, stderr = process.communicate(input=input_text, timeout=timeout)
    except BaseException:
        process.kill()
        process.wait(timeout=DEADLINE_SECONDS)
        close_pipes(process)  # not read to the end, since a process that the command left behind may hold them open
        raise
    completed = subprocess.CompletedProcess(list(map(str, command)), process.returncode, stdout, stderr)
    if check and completed.returncode != 0:
        raise AssertionError(
            f"{' '.join(completed.args)} ended with {completed.returncode}\n{completed.stdout}{completed.stderr}"
        )
    return completed


def close_pipes(process: subprocess.Popen[str]) -> None:
    """Closes this side's ends of a process's pipes."""
    for pipe in (process.stdin, process.stdout, process.stderr):
        if pipe is not None:
            with contextlib.suppress(BrokenPipeError):  # the process has gone, so buffered input cannot be written
                pipe.close()


def only_child(pid: int) -> int:
    """The pid of a process's only child. Raises RuntimeError if it has none or several."""
    children = children_of(pid)
    if len(children) != 1:
        raise RuntimeError(f"process {pid} has {len(children)} children, not one")
    return children[0]


def children_of(pid: int) -> list[int]:
    """The pids of a process's children, as seen from here."""
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def _tool(verb: str) -> list[str]:
    return [sys.executable, "-I", "-S", str(TOOL), verb, str(os.getpid())]
