# SPDX-License-Identifier: Apache-2.0
"""Changes the settings of a job that does not run: checked like a submit, recorded, and true for the next attempt."""

import time
from typing import Any

import msgspec

from fluxgym.errors import InvalidSetting
from fluxgym.messages import Context
from fluxgymd.core import events
from fluxgymd.core.job import Completed, Job, Live
from fluxgymd.engine.book import Book, Entry
from fluxgymd.engine.preflight import Preflight
from fluxgymd.engine.scheduler import Scheduler
from fluxgymd.engine.takeover import Takeover
from fluxgymd.engine.verbs import wrong_state
from fluxgymd.failpoints import failpoint
from fluxgymd.trainers import settings

FIXED = {
    "kind": "submit another job instead",
    "dataset": "its pictures were copied at the submit; submit another job instead",
    "held": "use hold and release",
}


class Editor:
    def __init__(
        self, book: Book, preflight: Preflight, scheduler: Scheduler, takeover: Takeover | None = None
    ) -> None:
        self._book = book
        self._preflight = preflight
        self._scheduler = scheduler
        self._takeover = takeover

    async def edit(self, changes: Context) -> Entry:
        """The job with its new settings. A FluxgymError says why not; then nothing has changed."""
        entry, job = self._book.sound(changes.name)
        for setting, instead in FIXED.items():
            not_copied = setting == "dataset" and entry.older is not None
            asked = getattr(changes, setting)
            # The spec file of the submit names them too: the same value changes nothing.
            if asked not in (None, getattr(job.context, setting)) and not not_copied:
                raise InvalidSetting(f"{setting} cannot be changed; {instead}.", setting=setting)
        _must_rest(job)
        wanted = settings.complete(merge(job.context, changes), self._book.home.path)
        await self._preflight.check(wanted)
        failpoint("edit.checked")

        def decide(now: Job) -> events.AnyEvent:
            _must_rest(now)
            if now.context != job.context:
                raise wrong_state(now, "somebody else has changed it meanwhile; look at it and try again")
            return events.Edited(at=time.time(), context=wanted)

        if entry.older is not None and self._takeover is not None:
            await self._takeover.record(entry, decide, wanted=wanted, given=given(changes).keys())
        else:
            await self._book.decide(entry, decide)
        failpoint("edit.recorded")
        self._scheduler.ring()
        return entry


def merge(before: Context, changes: Context) -> Context:
    """What is given replaces what was; trainer_options, watchdog_limits and the model are replaced one by one."""
    wanted = given(changes)
    if changes.trainer_options is not None:
        wanted["trainer_options"] = (before.trainer_options or {}) | changes.trainer_options
    if changes.watchdog_limits is not None:
        wanted["watchdog_limits"] = (before.watchdog_limits or {}) | changes.watchdog_limits
    if changes.model is not None and before.model is not None:
        files = {name: value for name, value in msgspec.structs.asdict(changes.model).items() if value is not None}
        wanted["model"] = msgspec.structs.replace(before.model, **files)
    return msgspec.structs.replace(before, **wanted)


def given(settings: Context) -> dict[str, Any]:
    """The settings that are given, by name."""
    return {name: value for name, value in msgspec.structs.asdict(settings).items() if value is not None}


def _must_rest(job: Job) -> None:
    if isinstance(job.state, Live):
        raise wrong_state(job, "it runs; stop it first")
    if isinstance(job.state, Completed):
        raise wrong_state(job, "it is completed")
