# SPDX-License-Identifier: Apache-2.0
"""Describes a job's events in sentences, for a person who was away."""

from collections.abc import Sequence
from typing import assert_never

from fluxgymd.core.journal import annotation
from fluxgymd.core.journal import events as e
from fluxgymd.core.measures.span import span

_OUTCOMES = {
    "completed": "Finished successfully.",
    "failed": "It failed.",
    "stopped": "It was stopped.",
    "interrupted": "It was interrupted.",
    "never_started": "It was not started.",
}


def sentence(event: e.AnyEvent) -> str:
    """The event as one or more sentences."""
    match event:
        case e.Submitted():
            return f"It was submitted{_pictures(event.copied)}.{_beginning(event)}"
        case e.Imported():
            return f"It was created by an older FluxGym. {_outcome(event.outcome, event.reason)}"
        case e.Reserved():
            where = f"on {', '.join(event.gpus)}" if event.gpus else "on the CPU"
            begin = f"from {event.resumed_from} at step {event.step}" if event.resumed_from else "from the beginning"
            return f"Attempt {event.attempt} was prepared {where}, {begin}."
        case e.Spawned():
            return f"Its supervising process is {event.shim.pid}."
        case e.Placed():
            return f"Its unit is {event.placement.unit}."
        case e.Started():
            return f"It runs as process {event.trainer.pid}."
        case e.StopAsked():
            return f"A stop{' after the next checkpoint' if event.after_checkpoint else ''} was requested."
        case e.Unsupervised():
            return "Its supervising process is gone, but it is still running; its exit status will not be known."
        case e.SightLost():
            return f"Lost contact with the job: {event.why}."
        case e.SightRegained():
            return "Contact was restored, and the job is running."
        case e.HangFound():
            then = "It is being stopped." if event.acts else "It is left running."
            return f"The watchdog found it stuck. {event.why} {then}"
        case e.Ended():
            return _ended(event)
        case e.Cancelled():
            return "It was cancelled."
        case e.ResumeAsked():
            return "It was queued again."
        case e.Held():
            return "It was put on hold."
        case e.Released():
            return "It was released."
        case e.Moved():
            return f"It was moved in the queue and now has priority {event.priority}."
        case e.Edited():
            return "Its settings were changed."
        case e.WatchdogSet():
            then = f" for {span(event.until - event.at)}" if event.until is not None else ""
            return f"Its watchdog was set to {event.mode.value}{then}."
        case e.Barred():
            return f"It cannot be started: {event.reason}"
        case e.Disowned():
            return f"The user confirmed that attempt {event.attempt} is no longer running."
        case e.Annotated():
            return annotation.sentence(event.annotation)
        case e.Restored():
            return "It was removed, and restored."
        case _:
            assert_never(event)


def _pictures(copied: e.Copied | None) -> str:
    """Which pictures were copied, if that says more than the settings. Continues a sentence."""
    match copied:
        case e.Copied(dataset=str(name), revision=revision, pictures=count):
            return f", with {count} pictures from revision {revision} of the dataset {name}"
        case e.Copied(parts=parts, pictures=count) if parts:
            return f", with {count} pictures in {len(parts)} parts{_revisions(parts)}"
        case _:
            return ""


def _beginning(event: e.Submitted) -> str:
    """The checkpoint of another job that it starts from, as another sentence."""
    origin = event.context.resume_from
    if origin is None:
        return ""
    return f" It starts from the checkpoint {origin.checkpoint} of the job {origin.job}, at step {event.step}."


def _revisions(parts: Sequence[e.CopiedPart]) -> str:
    """The stored datasets among the parts. The rest of a sentence."""
    stored = [part for part in parts if part.dataset is not None]
    named = dict.fromkeys(f"revision {part.revision} of the dataset {part.dataset}" for part in stored)
    return f", with {' and '.join(named)}" if named else ""


def _outcome(outcome: str, reason: str) -> str:
    """The outcome and its reason, or only the reason if it already states the outcome. A reason from version 0.1.0
    may end in a program's output, without a full stop."""
    said = _OUTCOMES.get(outcome, f"It ended as {outcome}.")
    why = f"{reason.rstrip('.')}."
    return why if why.startswith(said.removesuffix(".")) else f"{said} {why}"


def _ended(event: e.Ended) -> str:
    parts = [_outcome(event.outcome, event.reason)]
    if event.step:
        parts.append(f"It had completed {event.step} steps.")
    if event.steps_lost:
        parts.append(f"{event.steps_lost} of them must be repeated.")
    if event.again:
        parts.append("It will be retried automatically.")
    return " ".join(parts)
