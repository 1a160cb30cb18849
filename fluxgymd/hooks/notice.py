# SPDX-License-Identifier: Apache-2.0
"""The object that a hook receives (docs/hooks.md). Within a version, fields are only added."""

from fluxgym.protocol.messages import Job, Message
from fluxgymd.core.journal import events
from fluxgymd.core.news import News
from fluxgymd.jobs.entry import Entry
from fluxgymd.jobs.view import show
from fluxgymd.watchdog.evidence_files import EVIDENCE

VERSION = 1


class Notice(Message, frozen=True, kw_only=True):
    version: int
    event: str
    """stuck, finish, fail or lost."""
    at: float
    """When it happened: seconds since the epoch."""
    text: str
    """One or two sentences for people, which chat services show."""
    job: Job
    """As Describe shows it."""
    seen: list[str]
    """What was seen of a hang, one sentence each; empty for other events."""
    evidence: str | None = None
    """The folder with the evidence of a hang, which FluxGym is still filling when it calls the hook."""
    test: bool | None = None
    """Nothing has happened: the user is testing the hook."""


def notice(entry: Entry, event: events.AnyEvent, told: News) -> Notice:
    """The notice of an event. `entry`: the job after the event."""
    seen: list[str] = []
    evidence = None
    if isinstance(event, events.HangFound):
        seen = list(event.evidence)
        if event.acts:
            evidence = str(entry.folder.attempt(event.attempt) / EVIDENCE)
    return Notice(
        version=VERSION,
        event=told.event,
        at=event.at,
        text=told.text,
        job=show(entry),
        seen=seen,
        evidence=evidence,
    )
