# SPDX-License-Identifier: Apache-2.0
"""Runs the client as a program, without any settings of this machine."""

import json
import os
import pty
import subprocess
import sys
import termios
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.harness.waiting import DEADLINE_SECONDS

COMMAND = (sys.executable, "-m", "fluxgymctl")


def environment(socket: Path | str, **settings: str) -> dict[str, str]:
    return {"PATH": os.environ["PATH"], "HOME": "/nonexistent", "FLUXGYM_SOCKET": str(socket), **settings}


def ctl(
    *words: str | bytes, socket: Path | str = "/nonexistent/s", cwd: Path | None = None, **settings: str
) -> subprocess.CompletedProcess[str]:
    """Runs one call to its end."""
    return subprocess.run(
        [*COMMAND, *words],
        env=environment(socket, **settings),
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=DEADLINE_SECONDS,
    )


def rows(done: subprocess.CompletedProcess[str]) -> list[Any]:
    """The objects that a successful call with --json has printed."""
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


@contextmanager
def started(*words: str, socket: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Starts a call, which runs beside the test and is killed at the end."""
    with subprocess.Popen(
        [*COMMAND, *words],
        env=environment(socket),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def on_terminal(words: Sequence[str], *, socket: Path, columns: int = 80, answer: bytes = b"") -> tuple[int, str]:
    """Runs one call on a terminal of its own to its end; returns its exit status and everything that the terminal
    received."""
    ours, theirs = pty.openpty()
    try:
        termios.tcsetwinsize(theirs, (24, columns))
        process = subprocess.Popen(
            [*COMMAND, *words], env=environment(socket), stdin=theirs, stdout=theirs, stderr=theirs
        )
    finally:
        os.close(theirs)
    deadline = threading.Timer(DEADLINE_SECONDS, process.kill)
    deadline.start()
    with process, os.fdopen(ours, "r+b", buffering=0) as terminal:
        terminal.write(answer)
        seen = b""
        try:
            while data := terminal.read(65536):
                seen += data
        except OSError:
            pass  # EIO: on Linux, the other side of the terminal was closed (pty(7))
        status = process.wait(DEADLINE_SECONDS)
    deadline.cancel()
    return status, seen.decode()
