# SPDX-License-Identifier: Apache-2.0
"""GPUs that are in use by what runs of a job which is not in the home any more (attempts/strays.py).

A job that is in the book keeps its GPUs whatever happens to its folder, so there is something to find only behind a
start of the daemon: one look then, and as long as something was found.
"""

import logging
import time

from fluxgymd import lanes
from fluxgymd.attempts import strays
from fluxgymd.attempts.strays import Stray
from fluxgymd.core.job import Live
from fluxgymd.engine.book import Book

log = logging.getLogger(__name__)

LOOK_SECONDS = 5.0
"""Between two looks: each reads what every process of this machine was started with."""


class Forgotten:
    def __init__(self, book: Book) -> None:
        self._book = book
        self._found: list[Stray] | None = None
        self._next_look = 0.0

    async def gpus(self) -> frozenset[str]:
        """The GPUs that are in use."""
        if (self._found is None or self._found) and time.monotonic() >= self._next_look:
            marks = {job.state.attempt.mark for job in self._book.jobs() if isinstance(job.state, Live)}
            before = self._found or []
            self._found = await lanes.run("forgotten", strays.find, self._book.home.outputs, marks)
            self._next_look = time.monotonic() + LOOK_SECONDS
            for sentence in self.reasons() if self._found != before else ():
                log.error("%s", sentence)
        return frozenset(gpu for stray in self._found or () for gpu in stray.gpus)

    def reasons(self) -> list[str]:
        """A sentence for each process that keeps a GPU."""
        return [
            f"Process {stray.process.pid} of the job {stray.job}, which is not in the home any more, keeps the GPU "
            f"{', '.join(stray.gpus)}: end it (`kill {stray.process.pid}`), or wait for its end."
            for stray in self._found or ()
            if stray.gpus
        ]
