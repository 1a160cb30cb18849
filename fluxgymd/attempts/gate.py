# SPDX-License-Identifier: Apache-2.0
"""Starts shims: the half of an attempt's start that all adapters share.

The gate is a socket of which the daemon alone holds the other end, so a shim cannot outlive a daemon that dies before
it says go. Who has a gate has a shim that waits: its lock is held and shim.json is on the disk, so no look at the
evidence from then on can take it for one that never came up.
"""

import asyncio
import contextlib
import os
import signal
import socket
import sys
from pathlib import Path

from fluxgymd import lanes
from fluxgymd.attempts import processes, shim
from fluxgymd.attempts.port import AttemptSpec, Refused
from fluxgymd.core.records import Process
from fluxgymd.failpoints import failpoint

GATE_FD = 3
LEFT = "The supervising process left before the trainer was started; the job's log says why."
READY_SECONDS = 30.0
"""For Python's start on a slow volume."""


class ShimGate:
    """A spawned shim that waits (port.Gate)."""

    def __init__(self, *, shim: Process, socket: socket.socket) -> None:
        self.shim = shim
        self._socket = socket

    async def waits(self) -> None:
        """Returns when the shim has come to the gate. Refused if it has ended instead."""
        try:
            async with asyncio.timeout(READY_SECONDS):
                word = await asyncio.get_running_loop().sock_recv(self._socket, 1)
        except (TimeoutError, ConnectionError):
            word = b""
        if word != b"w":
            raise Refused("The supervising process did not come up; the job's log says why.")

    def open(self) -> None:
        """Refused if the shim has left meanwhile."""
        failpoint("gate.opens")
        try:
            self._socket.send(b"g")
        except OSError:
            raise Refused(LEFT) from None
        finally:
            self.close()

    def close(self) -> None:
        self._socket.close()


async def spawn(spec: AttemptSpec) -> ShimGate:
    """A shim that waits at its closed gate. Refused if it cannot be had."""
    work = asyncio.create_task(lanes.run(spec.unit, _spawn, spec))
    try:
        gate = await asyncio.shield(work)
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        raise Refused(f"The supervising process could not be started: {where}{error.strerror}.") from None
    except asyncio.CancelledError:
        work.add_done_callback(_close_unwanted)
        raise
    _reap_when_over(gate.shim.pid)
    try:
        failpoint("spawn.known")
        await gate.waits()
        failpoint("spawn.waits")
    except BaseException:
        gate.close()
        raise
    return gate


def command(spec: AttemptSpec) -> list[str]:
    """The shim's command line. Secrets never stand here: every user of the machine can read it."""
    return [
        *(sys.executable, "-I", "-S", str(Path(shim.__file__))),
        *("--contract", str(shim.CONTRACT)),
        *("--folder", str(spec.folder)),
        *("--gate-fd", str(GATE_FD)),
        *("--log", str(spec.log)),
        *("--job", spec.job),
        *("--directory", str(spec.cwd)),
        *("--", *spec.argv),
    ]


def _spawn(spec: AttemptSpec) -> ShimGate:
    """Blocks: the log and Python itself may lie on a slow volume."""
    ours, its = socket.socketpair()
    ours.setblocking(False)
    log = -1
    try:
        log = os.open(spec.log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        failpoint("spawn.begins")
        pid = os.posix_spawn(
            sys.executable,
            command(spec),
            spec.environment,
            file_actions=[
                (os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0),
                (os.POSIX_SPAWN_DUP2, log, 1),
                (os.POSIX_SPAWN_DUP2, log, 2),
                (os.POSIX_SPAWN_DUP2, its.fileno(), GATE_FD),
            ],
            setsigmask=(),
            setsigdef=(signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD),
        )
        failpoint("spawn.forked")
        # It is our child and not reaped yet, so the pid is its own.
        start = processes.stat(pid)
        assert start is not None
        return ShimGate(shim=start.process, socket=ours)
    except BaseException:
        ours.close()
        raise
    finally:
        its.close()
        if log >= 0:
            os.close(log)


def _close_unwanted(work: asyncio.Task[ShimGate]) -> None:
    if not work.cancelled() and work.exception() is None:
        gate = work.result()
        gate.close()
        _reap_when_over(gate.shim.pid)


def _reap_when_over(pid: int) -> None:
    """A child that has ended stays a zombie until its parent looks."""
    loop = asyncio.get_running_loop()
    descriptor = os.pidfd_open(pid)

    def over() -> None:
        loop.remove_reader(descriptor)
        os.close(descriptor)
        with contextlib.suppress(ChildProcessError):
            os.waitpid(pid, 0)

    loop.add_reader(descriptor, over)


async def until_gone(process: Process) -> None:
    """Returns when the process has ended."""
    descriptor = processes.open_pidfd(process)
    if descriptor is None:
        return
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    loop.add_reader(descriptor, ended.set)
    try:
        await ended.wait()
    finally:
        loop.remove_reader(descriptor)
        os.close(descriptor)
