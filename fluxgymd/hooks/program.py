# SPDX-License-Identifier: Apache-2.0
"""Runs a hook's program once, in its own session, with a deadline, its input in memory, and bounded output.

The process is reaped only after its group was killed: until then no other process can get its number, which is also
the group's (promise 6). Processes that it leaves in its group end with it. Only the end of its output is kept.
"""

import os
import selectors
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

TAIL_BYTES = 4096
LINE = 200
"""Characters of its last line that are reported."""
KILLED_SECONDS = 5.0
"""How long a killed program may take to end. One that hangs in the kernel is left behind."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Ended:
    """The result of a run."""

    why: str | None
    """A clause that says why it failed; None if it succeeded."""
    status: int | None = None
    """The exit status as in subprocess: negative for a signal. None if the program did not start or cannot be
    killed."""
    output: str = ""
    """The end of its output."""

    @property
    def why_with_last_words(self) -> str | None:
        """The clause with the last line of the output."""
        return self.why and self.why + _last_words(self.output)


def run(words: Sequence[str], *, data: bytes, environ: Mapping[str, str], seconds: float, give_up: int) -> Ended:
    """Runs a program to its end. Blocks.

    `data`: its standard input. `give_up`: a file descriptor that becomes readable when the program should be ended
    early.
    """
    stdin = os.memfd_create("hook-input")  # not a pipe: a program that never reads must not block the daemon
    try:
        os.write(stdin, data)
        os.lseek(stdin, 0, os.SEEK_SET)
        process = subprocess.Popen(
            words,
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=environ,
            cwd="/",
            start_new_session=True,
        )
    except OSError as error:
        return Ended(why=f"it could not be started: {error.strerror}")
    finally:
        os.close(stdin)
    assert process.stdout is not None
    with process.stdout:
        output = _Output(process.stdout.fileno())
        why = _until_over(process.pid, output, seconds=seconds, give_up=give_up)
        os.killpg(process.pid, signal.SIGKILL)
        try:
            status = process.wait(KILLED_SECONDS)
        except subprocess.TimeoutExpired:
            return Ended(why=f"{why or 'it ended'}, but some of its processes cannot be killed")
        output.read()
    if why is None and status != 0:
        why = f"it ended with status {status}" if status > 0 else f"it was killed by signal {-status}"
    return Ended(why=why, status=status, output=output.text)


class _Output:
    """The end of a program's output."""

    def __init__(self, descriptor: int) -> None:
        os.set_blocking(descriptor, False)
        self.descriptor = descriptor
        self._tail = b""

    def read(self) -> bool:
        """Reads one piece of what is available. Returns whether more output may follow."""
        try:
            piece = os.read(self.descriptor, 16 * TAIL_BYTES)
        except BlockingIOError:
            return True
        self._tail = (self._tail + piece)[-TAIL_BYTES:]
        return bool(piece)

    @property
    def text(self) -> str:
        """The output without control characters."""
        text = self._tail.decode(errors="replace")
        return "".join(letter if letter.isprintable() or letter == "\n" else " " for letter in text)


def _last_words(output: str) -> str:
    """The last line, formatted for the end of a sentence; empty if there is no output."""
    line = next((line.strip() for line in reversed(output.split("\n")) if line.strip()), "")
    return f": {line[-LINE:]}" if line else ""


def _until_over(pid: int, output: _Output, *, seconds: float, give_up: int) -> str | None:
    """Waits for the program's end and reads its output meanwhile. Returns why it must be killed, or None if it has
    ended on its own."""
    deadline = time.monotonic() + seconds
    gone = os.pidfd_open(pid)
    try:
        with selectors.DefaultSelector() as selector:
            for descriptor in (gone, output.descriptor, give_up):
                selector.register(descriptor, selectors.EVENT_READ)
            while (left := deadline - time.monotonic()) > 0:
                ready = {key.fd for key, _ in selector.select(left)}
                if gone in ready:
                    return None
                if give_up in ready:
                    return "the daemon was stopped before it ended"
                if output.descriptor in ready and not output.read():
                    selector.unregister(output.descriptor)
        return f"it did not end within {seconds:g} s and was killed"
    finally:
        os.close(gone)
