# SPDX-License-Identifier: Apache-2.0
"""One run of a hook's program: in a session of its own, with a deadline, its input in memory and its output bounded.

The process is reaped only after its group was killed: until then its number, which is the group's, is nobody else's
(promise 6). What it leaves in its group ends with it; only the last of its output is kept, so one that floods fills
nothing.
"""

import os
import selectors
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence

TAIL_BYTES = 4096
LINE = 200
"""Characters of its last line that are told."""
KILLED_SECONDS = 5.0
"""How long a killed one may take to go: one that hangs in the kernel is left behind."""


def run(words: Sequence[str], *, data: bytes, environ: Mapping[str, str], seconds: float, give_up: int) -> str | None:
    """Runs it to its end. Why it failed, as a part of a sentence; None if it did well. Blocks.

    `data`: its standard input. `give_up`: a descriptor that becomes readable when it is to be ended early.
    """
    stdin = os.memfd_create("hook-input")  # not a pipe: a program that never reads must not stop us
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
        return f"it could not be started: {error.strerror}"
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
            return f"{why or 'it ended'}, and cannot be killed"
        output.read()
    if why is None and status != 0:
        why = f"it ended with status {status}" if status > 0 else f"it was killed by signal {-status}"
    return why and why + output.last_words


class _Output:
    """The last of what a program writes."""

    def __init__(self, descriptor: int) -> None:
        os.set_blocking(descriptor, False)
        self.descriptor = descriptor
        self._tail = b""

    def read(self) -> bool:
        """Takes what there is at present, a piece; whether there may be more some time."""
        try:
            piece = os.read(self.descriptor, 16 * TAIL_BYTES)
        except BlockingIOError:
            return True
        self._tail = (self._tail + piece)[-TAIL_BYTES:]
        return bool(piece)

    @property
    def last_words(self) -> str:
        """Its last line, for the end of a sentence; empty if it said nothing."""
        text = self._tail.decode(errors="replace")
        plain = "".join(letter if letter.isprintable() or letter == "\n" else " " for letter in text)
        line = next((line.strip() for line in reversed(plain.split("\n")) if line.strip()), "")
        return f": {line[-LINE:]}" if line else ""


def _until_over(pid: int, output: _Output, *, seconds: float, give_up: int) -> str | None:
    """Waits for its end, and takes its output meanwhile. Why it is to be killed; None: it has ended by itself."""
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
