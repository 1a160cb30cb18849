# SPDX-License-Identifier: Apache-2.0
"""A program that makes Linux namespaces, or starts a command inside existing ones. Needs root.

    namespace_tool.py make PARENT GROUP
        prints "ready" once PID 1 of the new namespaces is set up
    namespace_tool.py enter PARENT PID GROUP CWD COMMAND...
        runs COMMAND in the namespaces of PID and in the cgroup GROUP

Invariants. Each process dies by SIGKILL when its parent does, up to PARENT (the test run), so an interrupted run
leaves nothing running. `enter` is transparent: it hands signals on to COMMAND, and ends with its exit status or by
its signal. util-linux's `nsenter` does neither, so a test could not kill what it had started.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path
from typing import NoReturn

# From linux/sched.h and linux/prctl.h. Python has the CLONE_ constants from 3.12 on.
CLONE_NEWNS = 0x00020000
CLONE_NEWCGROUP = 0x02000000
CLONE_NEWIPC = 0x08000000
CLONE_NEWPID = 0x20000000
PR_SET_PDEATHSIG = 1

CGROUP_ROOT = Path("/sys/fs/cgroup")
FORWARDED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2)

libc = ctypes.CDLL(None, use_errno=True)


def check(result: int) -> None:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def die_with_parent(parent: int | None) -> None:
    """Asks the kernel to send SIGKILL when the parent dies. Exits if `parent` has already died."""
    check(libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0))
    if parent is not None and os.getppid() != parent:
        os._exit(1)


def join_group(group: Path) -> None:
    (group / "cgroup.procs").write_text("0")


def run(*command: str) -> None:
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL)


def make(*, parent: int, group: Path) -> NoReturn:
    die_with_parent(parent)
    join_group(group)
    check(libc.unshare(CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWCGROUP | CLONE_NEWIPC))
    join_group(group / "init")  # a group that passes controllers on must not hold processes itself
    child = os.fork()
    if child == 0:
        die_with_parent(None)
        be_pid_1()
    stay_until_gone(child)


def be_pid_1() -> NoReturn:
    """Mounts a pure cgroup2 tree, /proc and an empty /run, then reaps orphans forever."""
    run("mount", "--make-rprivate", "/")
    run("mount", "-t", "proc", "proc", "/proc")
    # The host's tree here may be cgroup v1 with cgroup2 below it, but systemd looks only at this path.
    with contextlib.suppress(subprocess.CalledProcessError):
        run("umount", "--recursive", str(CGROUP_ROOT))
    run("mount", "-t", "cgroup2", "cgroup2", str(CGROUP_ROOT))
    run("mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", "/run")
    Path("/run/systemd/system").mkdir(parents=True)  # without it `systemd --user` refuses to start
    for controller in (CGROUP_ROOT / "cgroup.controllers").read_text().split():
        with contextlib.suppress(OSError):
            (CGROUP_ROOT / "cgroup.subtree_control").write_text(f"+{controller}")
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD})
    print("ready", flush=True)
    while True:
        try:
            os.wait()
        except ChildProcessError:
            signal.sigwait({signal.SIGCHLD})


def enter(*, parent: int, pid: int, group: Path, directory: str, command: list[str]) -> NoReturn:
    die_with_parent(parent)
    join_group(group)
    descriptors = [
        os.open(f"/proc/{pid}/ns/{kind}", os.O_RDONLY)
        for kind in ("cgroup", "ipc", "uts", "net", "pid", "mnt")
        if os.stat(f"/proc/{pid}/ns/{kind}").st_ino != os.stat(f"/proc/self/ns/{kind}").st_ino
    ]
    for descriptor in descriptors:
        check(libc.setns(descriptor, 0))
    os.chdir(directory)
    signal.pthread_sigmask(signal.SIG_BLOCK, FORWARDED)
    child = os.fork()
    if child == 0:
        die_with_parent(None)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        exec_command(command)
    for number in FORWARDED:
        signal.signal(number, lambda received, _: os.kill(child, received))
    signal.pthread_sigmask(signal.SIG_UNBLOCK, FORWARDED)
    stay_until_gone(child)


def exec_command(command: list[str]) -> NoReturn:
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # Python ignores it, which exec would pass on
    try:
        os.execvp(command[0], command)
    except OSError as error:
        print(f"{command[0]}: {error.strerror}", file=sys.stderr, flush=True)
        os._exit(127)


def stay_until_gone(child: int) -> NoReturn:
    """Ends as `child` does: with the same exit status, or by the same signal."""
    _, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    if code < 0:
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        with contextlib.suppress(OSError):  # SIGKILL has no handler to reset
            signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    os._exit(code)


def main() -> NoReturn:
    match sys.argv[1:]:
        case ["make", parent, group]:
            make(parent=int(parent), group=Path(group))
        case ["enter", parent, pid, group, directory, *command] if command:
            enter(parent=int(parent), pid=int(pid), group=Path(group), directory=directory, command=command)
        case _:
            sys.exit(__doc__)


if __name__ == "__main__":
    main()
