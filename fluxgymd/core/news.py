# SPDX-License-Identifier: Apache-2.0
"""Which events of a job are news to somebody who is away: hooks and desktop notifications tell them. Pure.

News is what a person may want to act on or look at: a hang, a result, an end at which nothing more happens by itself.
An end that the user asked for, and one after which the job goes on by itself, is none.
"""

from dataclasses import dataclass

from fluxgymd.core import events as e
from fluxgymd.core.job import Completed, Failed, Interrupted, Job


@dataclass(frozen=True, kw_only=True, slots=True)
class News:
    event: str
    """stuck, finish or fail."""
    title: str
    """A sentence without its full stop."""
    detail: str
    """One or more sentences."""

    @property
    def text(self) -> str:
        return f"{self.title}. {self.detail}".strip()


def news(job: Job, event: e.AnyEvent) -> News | None:
    """What the event tells somebody who is away. `job`: as it is after the event."""
    match event, job.state:
        case e.Stuck(), _:
            then = "It is stopped for that." if event.acts else "It is left as it is."
            return News(event="stuck", title=f"{job.name} is stuck", detail=f"{event.why} {then}")
        case e.Ended(), Completed():
            steps = f"It did {event.step} steps." if event.step else ""
            return News(event="finish", title=f"{job.name} is completed", detail=steps)
        case ((e.Ended() | e.Barred()), Failed(reason=reason)):
            return News(event="fail", title=f"{job.name} failed", detail=_sentence(reason))
        case e.Ended(), Interrupted(reason=reason) if job.held:
            detail = f"{_sentence(reason)} It waits until it is released."
            return News(event="fail", title=f"{job.name} was interrupted", detail=detail)
        case _:
            return None


def _sentence(reason: str) -> str:
    return f"{reason.rstrip('.')}."
