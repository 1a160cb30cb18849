# SPDX-License-Identifier: Apache-2.0
"""Whether a job is to be judged at present: its trainer runs and can be seen, and nobody ends it; and whether a hang
of it is in the journal already. Pure."""

from typing import assert_never

from fluxgymd.core.job import (
    Attempt,
    Completed,
    Failed,
    Interrupted,
    Job,
    Lost,
    Queued,
    Running,
    Starting,
    Stopped,
    Stopping,
    acted_on,
    stops_later,
)


def why_not(job: Job) -> str | None:
    """Why nothing new is to be said of it, as a sentence; None if it is to be judged."""
    state = job.state
    match state:
        case Queued() | Interrupted():
            return "It waits for its start."
        case Stopped() | Completed() | Failed():
            return "It does not run any more."
        case Lost():
            return "Sight of it was lost, so nobody can say what it does."
        case Starting() | Running() | Stopping():
            if acted_on(state.attempt) is not None:
                return "It was found stuck, and is being stopped for that."
            if isinstance(state, Stopping) and stops_later(job) is None:
                return "It is being stopped."
            return "Its trainer has not started yet." if state.attempt.trainer is None else None
        case _:
            assert_never(state)


def is_told(attempt: Attempt, *, phase: str | None, step: int, acts: bool) -> bool:
    """Whether this hang is recorded. One that was only told of is not, for a daemon that is to act on it."""
    hang = attempt.hang
    return hang is not None and (hang.phase, hang.step) == (phase, step) and (hang.acts or not acts)
