# SPDX-License-Identifier: Apache-2.0
"""Determines whether a job is to be judged at present (its trainer runs, can be seen, and is not being stopped), and
whether a hang is already in the journal. Pure."""

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
    """Why the job is not to be judged, in one sentence; None if it is."""
    state = job.state
    match state:
        case Queued() | Interrupted():
            return "It is waiting to start."
        case Stopped() | Completed() | Failed():
            return "It is no longer running."
        case Lost():
            return "FluxGym has lost contact with the job, so it is unknown what the job is doing."
        case Starting() | Running() | Stopping():
            if acted_on(state.attempt) is not None:
                return "The watchdog found it stuck, so it is being stopped."
            if isinstance(state, Stopping) and stops_later(job) is None:
                return "It is being stopped."
            return "Its trainer has not started yet." if state.attempt.trainer is None else None
        case _:
            assert_never(state)


def is_told(attempt: Attempt, *, phase: str | None, step: int, acts: bool) -> bool:
    """Whether the hang of this phase and step is already recorded. If the daemon has to act on it, a hang that was
    only reported doesn't count."""
    hang = attempt.hang
    return hang is not None and (hang.phase, hang.step) == (phase, step) and (hang.acts or not acts)
