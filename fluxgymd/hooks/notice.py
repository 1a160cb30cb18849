# SPDX-License-Identifier: Apache-2.0
"""The object that a hook gets (docs/hooks.md). Within a version it only grows, as the interface does."""

from fluxgym.messages import Job, Message
from fluxgymd.core import events
from fluxgymd.core.news import News
from fluxgymd.engine.book import Entry
from fluxgymd.engine.view import show
from fluxgymd.watchdog.evidence_files import EVIDENCE

VERSION = 1


class Notice(Message, frozen=True, kw_only=True):
    version: int
    event: str
    """stuck, finish or fail."""
    at: float
    """When it happened: seconds since the epoch."""
    text: str
    """One or two sentences for people: what chat services show."""
    job: Job
    """As Describe shows it."""
    seen: list[str]
    """What was seen of a hang, a sentence each."""
    evidence: str | None = None
    """The folder of what is saved of a hang; it is being filled when the hook is called."""


def notice(entry: Entry, event: events.AnyEvent, told: News) -> Notice:
    """`entry`: as it is after the event."""
    seen: list[str] = []
    evidence = None
    if isinstance(event, events.Stuck):
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
