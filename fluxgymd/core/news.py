# SPDX-License-Identifier: Apache-2.0
"""Determines which events of a job are news for a person who is away, to be sent by hooks and desktop notifications.
Pure.

News is what a person may want to act on or look at: a hang, a lost job, a result, or an end after which nothing more
happens automatically. An end that the user asked for is not news, nor is one after which the job continues
automatically.
"""

from dataclasses import dataclass

from fluxgymd.core.job import Completed, Failed, Interrupted, Job, Lost
from fluxgymd.core.journal import events as e


@dataclass(frozen=True, kw_only=True, slots=True)
class News:
    event: str
    """stuck, finish, fail or lost."""
    title: str
    """A sentence without its full stop."""
    detail: str
    """Sentences; may be empty."""

    @property
    def text(self) -> str:
        return f"{self.title}. {self.detail}".strip()


def news(job: Job, event: e.AnyEvent) -> News | None:
    """The news in an event; None if it holds none. `job`: its state after the event."""
    match event, job.state:
        case e.HangFound(), _:
            then = "It is being stopped." if event.acts else "It is left running."
            return News(event="stuck", title=f"{job.name} is stuck", detail=f"{event.why} {then}")
        case e.SightLost(), Lost(why=why):
            detail = f"{why[:1].upper()}{_sentence(why[1:])} Its GPU stays reserved until contact is restored."
            return News(event="lost", title=f"{job.name} is lost", detail=detail)
        case e.Ended(), Completed():
            steps = f"It completed {event.step} steps." if event.step else ""
            return News(event="finish", title=f"{job.name} finished successfully", detail=steps)
        case ((e.Ended() | e.Barred()), Failed(reason=reason)):
            return News(event="fail", title=f"{job.name} failed", detail=_sentence(reason))
        case e.Ended(), Interrupted(reason=reason) if job.held:
            detail = f"{_sentence(reason)} It stays on hold until it is released."
            return News(event="fail", title=f"{job.name} was interrupted", detail=detail)
        case _:
            return None


def _sentence(reason: str) -> str:
    return f"{reason.rstrip('.')}."
