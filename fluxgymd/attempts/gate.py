# SPDX-License-Identifier: Apache-2.0
"""Starts shims: the part of an attempt's start that all adapters share.

The gate is a socket. Only the daemon holds its other end, so a shim whose daemon dies before it opens the gate exits.
`spawn` returns a gate only once the shim is waiting: its lock is held and shim.json is on the disk. From then on, no
look at the evidence can conclude that the shim never came up.
"""

import asyncio
import contextlib
import os
import socket
import sys
from pathlib import Path

from fluxgym.files import open_file
from fluxgymd.attempts import processes, shim
from fluxgymd.attempts.port import AttemptSpec, Refused
from fluxgymd.background import lanes
from fluxgymd.core.journal.records import Process
from fluxgymd.failpoints import failpoint
from fluxgymd.host import dispositions

GATE_FD = 3
LEFT = "The supervising process exited before the trainer was started; its output is in the job's log."
READY_SECONDS = 30.0
"""How long a shim may take to reach its gate: Python starts slowly from a slow volume."""


class ShimGate:
    """A spawned shim that waits at its closed gate (implements port.Gate)."""

    def __init__(self, *, shim: Process, socket: socket.socket) -> None:
        self.shim = shim
        self._socket = socket

    async def waits(self) -> None:
        """Returns when the shim has reached the gate. Refused if it exits, or takes longer than READY_SECONDS."""
        try:
            async with asyncio.timeout(READY_SECONDS):
                word = await asyncio.get_running_loop().sock_recv(self._socket, 1)
        except (TimeoutError, ConnectionError):
            word = b""
        if word != b"w":
            raise Refused("The supervising process did not start properly; its output is in the job's log.")

    def open(self) -> None:
        """Lets the shim start the trainer. Refused if the shim has exited in the meantime."""
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
    """Starts a shim and returns it once it waits at its closed gate. Refused if that fails."""
    work = asyncio.create_task(lanes.run(spec.unit, _spawn, spec))
    try:
        gate = await asyncio.shield(work)
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        raise Refused(f"The supervising process could not be started: {where}{error.strerror}.") from None
    except ValueError as error:  # a NUL in an argument
        raise Refused(f"The supervising process could not be started: {error}.") from None
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
    """The shim's command line. It must hold no secrets: every user of the machine can read it."""
    return [
        *(sys.executable, "-I", "-S", str(Path(shim.__file__))),
        *("--contract", str(shim.CONTRACT)),
        *("--folder", str(spec.folder)),
        *("--gate-fd", str(GATE_FD)),
        *("--log", str(spec.log)),
        *("--log-limit", str(spec.log_limit)),
        *("--job", spec.job),
        *("--directory", str(spec.cwd)),
        *("--", *spec.argv),
    ]


def _spawn(spec: AttemptSpec) -> ShimGate:
    """Blocks, since the log and Python itself may be on a slow volume. OSError or ValueError if the spawn fails."""
    ours, its = socket.socketpair()
    ours.setblocking(False)
    log = -1
    try:
        log = open_file(spec.log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
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
            setsigdef=dispositions.RESETTABLE,
        )
        failpoint("spawn.forked")
        # The shim is a child that has not been reaped yet, so no other process can have its pid.
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
    """Reaps the child once it has ended; it would stay a zombie otherwise."""
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
