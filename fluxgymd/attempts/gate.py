# SPDX-License-Identifier: Apache-2.0
"""Starts shims: the half of an attempt's start that all adapters share.

The shim waits at a pipe of which the daemon alone holds the other end, so it cannot outlive a daemon that dies before
it says go. It gets the attempt's environment and three descriptors, and nothing else of the daemon's.
"""

import asyncio
import contextlib
import os
import signal
import sys
from pathlib import Path

from fluxgymd.attempts import processes, shim
from fluxgymd.attempts.port import AttemptSpec, Refused
from fluxgymd.core.records import Process

GATE_FD = 3


class ShimGate:
    """A spawned shim that waits (port.Gate)."""

    def __init__(self, *, shim: Process, writer: int) -> None:
        self.shim = shim
        self._writer: int | None = writer

    def open(self) -> None:
        """Refused if the shim has left meanwhile."""
        assert self._writer is not None
        try:
            os.write(self._writer, b"g")
        except BrokenPipeError:
            raise Refused("The supervising process left before the trainer was started.") from None
        finally:
            self.close()

    def close(self) -> None:
        if self._writer is not None:
            os.close(self._writer)
            self._writer = None


async def spawn(spec: AttemptSpec) -> ShimGate:
    """A shim with its gate closed. Refused if it cannot be had."""
    work = asyncio.create_task(asyncio.to_thread(_spawn, spec))
    try:
        gate = await asyncio.shield(work)
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        raise Refused(f"The supervising process could not be started: {where}{error.strerror}.") from None
    except asyncio.CancelledError:
        work.add_done_callback(_close_unwanted)
        raise
    _reap_when_over(gate.shim.pid)
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
    reader, writer = os.pipe()
    log = -1
    try:
        log = os.open(spec.log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        pid = os.posix_spawn(
            sys.executable,
            command(spec),
            spec.environment,
            file_actions=[
                (os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0),
                (os.POSIX_SPAWN_DUP2, log, 1),
                (os.POSIX_SPAWN_DUP2, log, 2),
                (os.POSIX_SPAWN_DUP2, reader, GATE_FD),
            ],
            setsigmask=(),
            setsigdef=(signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD),
        )
        # It is our child and not reaped yet, so the pid is its own.
        start = processes.stat(pid)
        assert start is not None
        return ShimGate(shim=start.process, writer=writer)
    except BaseException:
        os.close(writer)
        raise
    finally:
        os.close(reader)
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
