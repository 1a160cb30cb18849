# SPDX-License-Identifier: Apache-2.0
"""Changes the settings of a job that does not run. They are checked like a submit, and the next attempt uses them."""

import time
from typing import Any

import msgspec

from fluxgym.errors import InvalidSetting
from fluxgym.protocol.messages import TWO_FORMS, Context, ResumeFrom
from fluxgymd.core.job import Completed, Job, Live
from fluxgymd.core.journal import events
from fluxgymd.failpoints import failpoint
from fluxgymd.jobs.entry import Entry
from fluxgymd.jobs.registry import Registry
from fluxgymd.requests import origins
from fluxgymd.requests.takeover import Takeover
from fluxgymd.requests.verbs import wrong_state
from fluxgymd.run.preflight import Preflight
from fluxgymd.run.scheduler import Scheduler
from fluxgymd.snapshots import subsets
from fluxgymd.trainers.choice import Trainers

FIXED = {
    "kind": "submit another job instead",
    "dataset": "its pictures were copied when it was submitted; submit another job instead",
    "parts": "submit another job instead",
    "held": "use hold and release",
    "resume_from": "its checkpoint was copied when it was submitted; submit another job instead",
}
WRITTEN = ("trigger_place", "trigger_word", "enable_wildcard", "caption_separator")
"""Settings and options on which the text of a job's captions depends."""


class Editor:
    def __init__(
        self,
        registry: Registry,
        preflight: Preflight,
        trainers: Trainers,
        scheduler: Scheduler,
        takeover: Takeover | None = None,
    ) -> None:
        self._registry = registry
        self._trainers = trainers
        self._preflight = preflight
        self._scheduler = scheduler
        self._takeover = takeover

    async def edit(self, changes: Context) -> tuple[Entry, list[str]]:
        """The job with its new settings, and warnings for its owner. A FluxgymError says why the edit is refused;
        then nothing has changed."""
        entry, job = self._registry.sound(changes.name)
        for setting, instead in FIXED.items():
            not_copied = setting == "dataset" and entry.older is not None
            # The spec file of the submit, which names them too, may be given again: an equal value is no change.
            now = subsets.dataset_of(job.context) if setting == "dataset" else getattr(job.context, setting)
            if not _unchanged(getattr(changes, setting), now) and not not_copied:
                raise InvalidSetting(f"{setting} cannot be changed; {instead}.", setting=setting)
        own = job.context.parts is not None and all(part.repeats is not None for part in job.context.parts)
        if own and changes.repeats not in (None, job.context.repeats):
            raise InvalidSetting(
                "repeats has no effect on this job, since each of its parts has its own; submit another job instead.",
                setting="repeats",
            )
        _must_rest(job)
        if entry.older is None:  # what the submit found out about the pictures stays
            changes = msgspec.structs.replace(changes, dataset=None, parts=None)
        changes = msgspec.structs.replace(changes, resume_from=None)
        merged = merge(job.context, changes)
        wanted = self._trainers.of(merged).complete(merged, self._registry.home.path, new=False)
        warnings = []
        if entry.older is None:  # else the takeover makes these checks
            self._refuse_other_captions(job.context, wanted)
            folder = entry.folder
            pictures = subsets.folders(wanted, folder.dataset)
            outlook = await self._preflight.check(wanted, folder, pictures=pictures, copied=job.copied)
            warnings = [warning.sentence for warning in outlook.report.warnings]
        failpoint("edit.checked")

        def decide(now: Job) -> events.AnyEvent:
            _must_rest(now)
            if now.context != job.context:
                raise wrong_state(now, "it was changed in the meantime; check its settings and try again")
            return events.Edited(at=time.time(), context=wanted)

        if entry.older is not None and self._takeover is not None:
            warnings = await self._takeover.record(entry, decide, wanted=wanted, given=given(changes).keys())
        else:
            await self._registry.decide(entry, decide)
        failpoint("edit.recorded")
        self._scheduler.request_pass()
        return entry, warnings

    def _refuse_other_captions(self, before: Context, wanted: Context) -> None:
        trainer = self._trainers.of(wanted)
        written, asked = trainer.captions(before), trainer.captions(wanted)
        if written.ending != asked.ending:
            raise InvalidSetting(
                f"The captions cannot be changed; those that end in {written.ending} were copied at "
                "submission; submit another job instead.",
                setting="caption_extension",
            )
        if written != asked:
            setting = next(name for name in WRITTEN if _said(before, name) != _said(wanted, name))
            raise InvalidSetting(
                f"{setting} cannot be changed; the captions were written with it at submission; submit another job "
                "instead.",
                setting=setting,
            )


def merge(before: Context, changes: Context) -> Context:
    """The settings with the changes applied; in trainer_options, watchdog_limits and model, key by key."""
    wanted = given(changes)
    if changes.trainer_options is not None:
        wanted["trainer_options"] = (before.trainer_options or {}) | changes.trainer_options
    if changes.watchdog_limits is not None:
        wanted["watchdog_limits"] = (before.watchdog_limits or {}) | changes.watchdog_limits
    if changes.model is not None and before.model is not None:
        files = {name: value for name, value in msgspec.structs.asdict(changes.model).items() if value is not None}
        wanted["model"] = msgspec.structs.replace(before.model, **files)
    for forms in TWO_FORMS:
        if any(form in wanted for form in forms):
            wanted |= {form: None for form in forms if form not in wanted}  # the new form replaces the old one
    return msgspec.structs.replace(before, **wanted)


def _unchanged(asked: object, recorded: object) -> bool:
    """Whether a setting that cannot be changed is asked for as it is."""
    if isinstance(asked, list) and isinstance(recorded, list):
        return subsets.are_same(asked, recorded)
    if isinstance(asked, ResumeFrom) and isinstance(recorded, ResumeFrom):
        return origins.same(asked, recorded)
    return asked in (None, recorded)


def _said(context: Context, name: str) -> object:
    """A setting, or the words of an option."""
    return getattr(context, name, (context.trainer_options or {}).get(name))


def given(settings: Context) -> dict[str, Any]:
    """The settings that are not None, by name."""
    return {name: value for name, value in msgspec.structs.asdict(settings).items() if value is not None}


def _must_rest(job: Job) -> None:
    if isinstance(job.state, Live):
        raise wrong_state(job, "it is running; stop it first")
    if isinstance(job.state, Completed):
        raise wrong_state(job, "it is completed")
