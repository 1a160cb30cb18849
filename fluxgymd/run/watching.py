# SPDX-License-Identifier: Apache-2.0
"""Watches an attempt to its end: looks at it (looking.py) while the watchdog looks for hangs (fluxgymd/watchdog)."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from fluxgym.config import Config
from fluxgymd.attempts.port import Adapter
from fluxgymd.background import lanes
from fluxgymd.core.evidence import Over
from fluxgymd.jobs import monitor
from fluxgymd.jobs.entry import Entry
from fluxgymd.jobs.registry import Registry
from fluxgymd.run.looking import AttemptDisowned, Look, Unkillable
from fluxgymd.trainers.choice import Trainers
from fluxgymd.watchdog.watch import Watch


@dataclass(frozen=True, kw_only=True, slots=True)
class Watched:
    over: Over
    seen_running: bool
    """Whether a look has seen the attempt run."""


class Watcher:
    def __init__(
        self,
        registry: Registry,
        trainers: Trainers,
        config: Config,
        *,
        watchdog: Callable[[Entry, Adapter], Watch] | None = None,
        unkillable: Unkillable | None = None,
    ) -> None:
        """`watchdog`: makes the watch that looks for hangs. `unkillable`: called for an attempt that SIGKILL does not
        end."""
        self._registry = registry
        self._trainers = trainers
        self._config = config
        self._watchdog = watchdog
        self._unkillable = unkillable

    async def until_over(self, entry: Entry, adapter: Adapter) -> Watched | None:
        """Returns when nothing of the attempt is left; None if the user has disowned it."""
        watch = self._watchdog(entry, adapter) if self._watchdog is not None else None
        look = Look(
            self._registry,
            entry,
            adapter,
            self._trainers.of(entry.known.context),
            self._config,
            observations=watch.recent if watch is not None else (),
            unkillable=self._unkillable,
        )
        watching = asyncio.create_task(watch.run(), name=f"watchdog-{entry.name}") if watch is not None else None
        try:
            await lanes.run(entry.name, monitor.write_pid, entry.folder)
            return Watched(over=await look.until_over(), seen_running=look.seen_running)
        except AttemptDisowned:
            await lanes.run(entry.name, monitor.remove_pid, entry.folder)
            return None
        finally:
            look.close()
            if watching is not None:
                watching.cancel()
