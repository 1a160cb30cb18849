# SPDX-License-Identifier: Apache-2.0
"""Records a user's notes about a job, whatever the job's state."""

import time

from fluxgym.errors import InvalidSetting, WrongState
from fluxgym.protocol.messages import Annotation
from fluxgym.protocol.methods import AnnotateParameters
from fluxgym.quoting import short
from fluxgymd.background import lanes
from fluxgymd.core.job import Job
from fluxgymd.core.journal import events
from fluxgymd.core.journal.annotation import changed
from fluxgymd.importing.folder import loras
from fluxgymd.jobs.entry import Entry
from fluxgymd.jobs.registry import Registry
from fluxgymd.jobs.states import wire_state


async def annotate(registry: Registry, asked: AnnotateParameters) -> Entry:
    """Returns the job with its new notes. InvalidSetting if one of them is not valid; then nothing changes."""
    entry, job = registry.sound(asked.name)
    if entry.older is not None:
        # A journal would make it a job, and it would then be resumed without a copy of its pictures.
        raise WrongState(
            f"The older training {entry.name} has no journal yet, which would hold its notes; "
            f"`fluxgymctl resume {entry.name}` or `fluxgymctl edit {entry.name}` makes it a job.",
            name=entry.name,
            state=wire_state(job.state),
        )

    def after(job: Job) -> Annotation | None:
        return changed(job.annotation, group=asked.group, tags=asked.tags, note=asked.note, best=asked.best)

    if after(job) == job.annotation:
        return entry
    if asked.best:
        found = await lanes.answer(str(entry.folder.path), loras, entry.folder.path, entry.name)
        if asked.best not in found:
            has = f"it has {', '.join(found)}" if found else "it has none yet"
            raise InvalidSetting(
                f"best is {short(asked.best)}, which is not a LoRA of {entry.name}; {has}.", setting="best"
            )
    await registry.decide(entry, lambda job: events.Annotated(at=time.time(), annotation=after(job)))
    return entry
