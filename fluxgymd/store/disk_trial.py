# SPDX-License-Identifier: Apache-2.0
"""Tests with a small file whether the home's disk completes a write. This distinguishes a single write that hangs
from a disk that hangs (docs/decisions/heartbeat.md).

One trial runs at a time, in a thread that nobody waits for, so a volume that hangs keeps only one thread.
"""

import math
import os
import time
from concurrent.futures import Future
from contextlib import suppress
from pathlib import Path

from fluxgym.files import open_file
from fluxgymd.background import lanes
from fluxgymd.store.atomic import write_all

NAME = ".disk-trial"


class DiskTrial:
    def __init__(self, folder: Path) -> None:
        self._path = folder / NAME
        self._under_way: Future[None] | None = None
        self._began = -math.inf

    def passed(self, *, began_after: float) -> bool:
        """Whether the last trial is done and began after that time (monotonic seconds). Never blocks. Begins another
        trial if none is running."""
        before, began = self._under_way, self._began
        if before is None or before.done():
            self._began = time.monotonic()
            self._under_way = lanes.THREADS.submit(_write, self._path)
        return before is not None and before.done() and began > began_after


def _write(path: Path) -> None:
    """Writes and deletes the file. An error counts as a completed trial: the disk has answered."""
    with suppress(OSError):
        descriptor = open_file(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        try:
            write_all(descriptor, b"\n")
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    with suppress(OSError):
        path.unlink()
