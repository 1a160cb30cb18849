# SPDX-License-Identifier: Apache-2.0
"""The folders that an attempt has outside of the job's: for its temporary files, the code that it compiles, and what
it encodes.

Each attempt has a folder of its own for temporary files (attempts/temporary.py). All trainings of the home share the
compiled code (store/caches/compile_cache.py), which is trimmed to its limit while none of them runs, and the encoded
pictures and captions (store/caches/shared_caches.py).
"""

import asyncio
import logging
import os
from pathlib import Path

from fluxgym.config import Config
from fluxgym.protocol.messages import Kind
from fluxgymd.attempts import temporary
from fluxgymd.attempts.port import Refused
from fluxgymd.background import lanes
from fluxgymd.core.job import Attempt, Waiting
from fluxgymd.failpoints import failpoint
from fluxgymd.jobs import monitor
from fluxgymd.jobs.entry import Entry
from fluxgymd.jobs.registry import Registry
from fluxgymd.store.caches import compile_cache, shared_caches

log = logging.getLogger(__name__)

CACHE_SECONDS = 60.0
"""For checking and trimming the cache; if its volume hangs, the attempt runs without it."""


class Places:
    def __init__(self, registry: Registry, config: Config) -> None:
        self._registry = registry
        self._compiled = compile_cache.folder(config.home)
        self._limit = config.compile_cache_bytes
        self._home = config.home
        self._encoded = shared_caches.folder(config.home)
        self._encoded_limit = config.shared_cache_bytes
        self._one_at_a_time = asyncio.Lock()

    async def environment(self, entry: Entry, attempt: Attempt) -> dict[str, str]:
        """The daemon's environment with the attempt's folders. Makes them; Refused if the temporary one fails."""
        environ = dict(os.environ)
        if attempt.temporary is not None:
            folder = Path(attempt.temporary)
            try:
                await lanes.run(entry.name, temporary.make, folder)
            except OSError as error:
                raise Refused(f"Its temporary folder {folder} could not be created: {error.strerror}.") from None
            failpoint("attempt.temporary_made")
            environ["TMPDIR"] = str(folder)
        await self._trim_encoded()
        if entry.known.context.kind is Kind.PROGRAM and environ.get(shared_caches.VARIABLE) == str(self._encoded):
            # It may train on a user's own pictures, whose caches would become read-only links.
            del environ[shared_caches.VARIABLE]
        if environ.get(compile_cache.INDUCTOR) == str(self._compiled):
            problem = await self._ready(entry)
            if problem is not None:
                await monitor.note(entry.folder, f"{problem} Compiled code is kept for this attempt only.")
                for variable in (compile_cache.INDUCTOR, compile_cache.TRITON):
                    environ.pop(variable, None)
                    if attempt.temporary is not None:
                        environ[variable] = f"{attempt.temporary}/{variable.lower()}"
        return environ

    async def _trim_encoded(self) -> None:
        try:
            async with asyncio.timeout(CACHE_SECONDS):
                count = await lanes.run("shared caches", shared_caches.trim, self._home, self._encoded_limit)
        except TimeoutError:
            return  # its volume hangs; the next attempt trims it
        if count:
            log.info("deleted %d shared caches that no job used any more", count)

    async def _ready(self, entry: Entry) -> str | None:
        """Why the cache can't be used at present; None if it can. Attempts take turns here, and each has its lease by
        then: the next one sees the first and trims nothing."""
        try:
            async with asyncio.timeout(CACHE_SECONDS), self._one_at_a_time:
                return await lanes.run("compiled code", _prepare, self._compiled, self._limit_for(entry))
        except TimeoutError:
            return f"The folder for compiled code {self._compiled} does not answer."

    def _limit_for(self, entry: Entry) -> float | None:
        """The cache's limit in bytes; None if another job may be using the cache, so that nothing may be deleted."""
        others = [other for other in self._registry.open() if other is not entry]
        idle = all(other.damage is None and other.job and isinstance(other.job.state, Waiting) for other in others)
        return self._limit if idle else None


async def clear(entry: Entry, attempt: Attempt) -> None:
    """Removes the temporary files of an attempt of which nothing is left."""
    if attempt.temporary is None:
        return
    problem = await lanes.run(entry.name, temporary.remove, Path(attempt.temporary), attempt.mark)
    if problem is not None:
        log.warning("%s: %s", entry.name, problem)
        await monitor.note(entry.folder, problem)


def _prepare(place: Path, limit: float | None) -> str | None:
    problem = compile_cache.prepare(place)
    if problem is None and limit is not None and (count := compile_cache.trim(place, limit)):
        log.info("%d files of compiled code were deleted to keep %s within its limit", count, place)
    return problem
