# SPDX-License-Identifier: Apache-2.0
"""Whether the disk of the home comes back from a write, tried with a small file of our own: only that tells a write
that hangs from a disk that does.

One trial at a time, in a thread that nobody waits for: on a volume that hangs one thread is left behind, and no more.
"""

import math
import os
import time
from concurrent.futures import Future
from contextlib import suppress
from pathlib import Path

from fluxgymd import lanes
from fluxgymd.store.atomic import write_all

NAME = ".disk-trial"


class DiskTrial:
    def __init__(self, folder: Path) -> None:
        self._path = folder / NAME
        self._under_way: Future[None] | None = None
        self._began = -math.inf

    def passed(self, *, began_after: float) -> bool:
        """Whether the last trial is done and began after that time (monotonic seconds). Blocks on nothing; begins
        another trial if none is under way."""
        before, began = self._under_way, self._began
        if before is None or before.done():
            self._began = time.monotonic()
            self._under_way = lanes.THREADS.submit(_write, self._path)
        return before is not None and before.done() and began > began_after


def _write(path: Path) -> None:
    """A disk that refuses has answered too."""
    with suppress(OSError):
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            write_all(descriptor, b"\n")
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    with suppress(OSError):
        path.unlink()
