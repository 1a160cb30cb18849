# SPDX-License-Identifier: Apache-2.0
"""Parses large files of jobs and users in separate programs: JSON may take 30 times its size in memory, and while it
is parsed no other thread of the daemon runs (docs/decisions/0092-what-is-parsed-in-the-daemon.md).

Only a few of these programs run at once, and the daemon's own questions never wait for a client's. A place becomes
free when its program's time is over, even if a volume that hangs keeps the program from ending.
"""

import errno
import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from fluxgymd.background import bounded, helpers, lanes, turns
from fluxgymd.background.bounded import TooSlow
from fluxgymd.background.lanes import NoAnswer
from fluxgymd.background.turns import DAEMON, Client

SMALL_BYTES = 256 * 1024
"""The daemon itself parses files up to this size, in a few milliseconds."""
LIMITS = helpers.ResourceLimits(data_bytes=512 << 20, cpu_seconds=20, nice=10)
SECONDS = 60.0
"""The time for an answer, including the wait for a place. A client waits for a shorter time (lanes.py)."""
HASTE_SECONDS = 5.0
"""A question for a client ends this much earlier than the client's deadline, so that the client hears about the
program and not about a disk that does not answer."""
AT_ONCE = 2
"""Programs that run at once for the daemon, and as many for all clients together. Each may take 512 MiB."""
AT_ONCE_EACH = 1
"""Programs that run at once for the clients of one session."""


class _Places:
    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._held: Counter[Client] = Counter()

    @contextmanager
    def one(self, whose: Client, until: float) -> Iterator[None]:
        """Holds a place. Raises TimeoutError if none is free by `until` (monotonic seconds)."""
        with self._changed:
            if not self._changed.wait_for(lambda: self._may(whose), max(0.0, until - time.monotonic())):
                raise TimeoutError
            self._held[whose] += 1
        try:
            yield
        finally:
            with self._changed:
                self._held[whose] -= 1
                self._held += Counter()  # drops the clients that hold none
                self._changed.notify_all()

    def _may(self, whose: Client) -> bool:
        if whose == DAEMON:
            return self._held[DAEMON] < AT_ONCE
        return self._held[whose] < AT_ONCE_EACH and self._held.total() - self._held[DAEMON] < AT_ONCE


_places = _Places()


def ask(module: str, path: Path, *words: str, most: int) -> bytes:
    """The output of `python -m MODULE PATH WORDS...`. Raises Overran if the program prints more than `most` bytes or
    takes too much CPU time, and NoAnswer or another OSError if it gives no answer. Blocks."""
    until, answer_by = time.monotonic() + SECONDS, lanes.answer_by.get()
    if answer_by is not None:
        until = min(until, answer_by - HASTE_SECONDS)
    command = helpers.command(module, os.fspath(path.absolute()), *words)
    try:
        with ExitStack() as place:
            place.enter_context(_places.one(turns.client.get()[:1], until))
            ended = bounded.run(
                command,
                seconds=max(0.0, until - time.monotonic()),
                most=most,
                limits=LIMITS,
                cwd=helpers.DIRECTORY,
                over=place.close,
            )
    except (TimeoutError, TooSlow):
        why = "the program that parses it gave no answer in time; the machine may be busy"
        raise NoAnswer(errno.ETIMEDOUT, why, os.fspath(path)) from None
    if ended.status == -signal.SIGKILL:  # the machine ran out of memory, or somebody killed the program
        raise NoAnswer(errno.EINTR, "the program that parses it was killed", os.fspath(path))
    if ended.status != 0:
        raise OSError(errno.EIO, f"the program that parses it ended with status {ended.status}", os.fspath(path))
    return ended.output


def too_much_memory() -> str:
    """A clause for the program's answer when it gets no more memory."""
    return f"takes more than {(LIMITS.data_bytes or 0) >> 20} MiB of memory to read"
