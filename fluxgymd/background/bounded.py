# SPDX-License-Identifier: Apache-2.0
"""Runs a program to its end, with limits on its memory, its time and its output, while the calling thread waits.

Large files that a job or a user wrote are parsed by such programs, because all jobs share the daemon's memory and its
interpreter's lock.
"""

import os
import selectors
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from fluxgymd.background.helpers import ResourceLimits, tied

ERRORS_BYTES = 16 << 10
"""How much of the end of a program's stderr is kept."""
PIECE_BYTES = 64 << 10


class Overran(Exception):
    """The text is a clause that says which limit ended the program."""


class TooSlow(Overran):
    """The limit was that of time, which says more about the machine than about the program."""


@dataclass(frozen=True, slots=True)
class ProgramOutput:
    status: int
    """As in subprocess: negative for a signal."""
    output: bytes
    errors: bytes
    """The end of stderr."""


def run(
    words: Sequence[str],
    *,
    seconds: float,
    most: int,
    limits: ResourceLimits,
    cwd: str | Path | None = None,
    env: Mapping[str, str] | None = None,
    over: Callable[[], None] = lambda: None,
) -> ProgramOutput:
    """Runs a program, which ends with this daemon at the latest. Blocks.

    `seconds`: its time limit. `most`: the limit of its output in bytes. `over` is called once the program has ended
    or was killed, before the wait for a killed program that a hung volume keeps alive. Raises Overran or OSError.
    """
    end = time.monotonic() + seconds
    with subprocess.Popen(
        tied(words, limits),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=cwd,
        env=env,
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stderr is not None
            output, errors = _read(process.stdout, process.stderr, end, most)
            status = process.wait(max(0.0, end - time.monotonic()))
        except (TimeoutError, subprocess.TimeoutExpired):
            raise TooSlow(f"it took more than {seconds:g} s") from None
        finally:
            process.kill()
            over()
    if status == -signal.SIGXCPU:
        raise Overran(f"it took more than {limits.cpu_seconds} s of CPU time")
    return ProgramOutput(status, output, errors)


def _read(stdout: IO[bytes], stderr: IO[bytes], end: float, most: int) -> tuple[bytes, bytes]:
    """All of stdout and the end of stderr. Raises TimeoutError or Overran."""
    output, errors = bytearray(), bytearray()
    with selectors.DefaultSelector() as selector:
        selector.register(stdout, selectors.EVENT_READ, output)
        selector.register(stderr, selectors.EVENT_READ, errors)
        while selector.get_map():
            ready = selector.select(max(0.0, end - time.monotonic()))
            if not ready and time.monotonic() >= end:
                raise TimeoutError
            for key, _ in ready:
                piece = os.read(key.fd, PIECE_BYTES)
                if not piece:
                    selector.unregister(key.fileobj)
                key.data.extend(piece)
            if len(output) > most:
                raise Overran(f"it printed more than {most} bytes")
            del errors[:-ERRORS_BYTES]
    return bytes(output), bytes(errors)
