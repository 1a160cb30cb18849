# SPDX-License-Identifier: Apache-2.0
"""The client run as a program, with nothing of this machine's settings."""

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

COMMAND = (sys.executable, "-m", "fluxgymctl")
SECONDS = 120
"""Bounds a hang; no expectation of speed."""


def environment(socket: Path | str, **settings: str) -> dict[str, str]:
    return {"PATH": os.environ["PATH"], "HOME": "/nonexistent", "FLUXGYM_SOCKET": str(socket), **settings}


def ctl(
    *words: str | bytes, socket: Path | str = "/nonexistent/s", cwd: Path | None = None, **settings: str
) -> subprocess.CompletedProcess[str]:
    """One call, to its end."""
    return subprocess.run(
        [*COMMAND, *words],
        env=environment(socket, **settings),
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=SECONDS,
    )


def rows(done: subprocess.CompletedProcess[str]) -> list[Any]:
    """The objects of a call with --json that succeeded."""
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


@contextmanager
def started(*words: str, socket: Path) -> Iterator[subprocess.Popen[bytes]]:
    """One call that goes on beside the test; ended with it."""
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
    """One call on a terminal of its own, to its end: exit status and all that the terminal got."""
    ours, theirs = pty.openpty()
    try:
        termios.tcsetwinsize(theirs, (24, columns))
        process = subprocess.Popen(
            [*COMMAND, *words], env=environment(socket), stdin=theirs, stdout=theirs, stderr=theirs
        )
    finally:
        os.close(theirs)
    deadline = threading.Timer(SECONDS, process.kill)
    deadline.start()
    with process, os.fdopen(ours, "r+b", buffering=0) as terminal:
        terminal.write(answer)
        seen = b""
        try:
            while data := terminal.read(65536):
                seen += data
        except OSError:
            pass  # Linux tells the end of the other side so (pty(7): EIO)
        status = process.wait(SECONDS)
    deadline.cancel()
    return status, seen.decode()
