# SPDX-License-Identifier: Apache-2.0
"""Decides what happens automatically after an attempt that didn't end well: the job's restart policy and its limits.

A job continues automatically only while its checkpoints advance. Attempts that bring nothing new are repeated a few
times, with growing pauses; then a person has to look.
"""

from dataclasses import dataclass

from fluxgym.protocol.messages import FailureKind, RestartPolicy
from fluxgymd.core.job import Final, Hang, Job
from fluxgymd.core.outcome import Outcome

FRUITLESS_LIMIT = 5
"""Consecutive attempts without a newer checkpoint after which there is no retry."""

PAUSES = (0.0, 30.0, 120.0, 300.0, 900.0)
"""Seconds before the next attempt, by the number of consecutive fruitless attempts. After an interruption one fewer
counts, so the first retry comes at once: a reboot, for example, is over by then."""

POINTLESS = frozenset(
    {
        FailureKind.MISSING_FILE,
        FailureKind.BAD_DATASET,
        FailureKind.BAD_SETTING,
        FailureKind.NOT_RESUMABLE,
        FailureKind.NOT_A_NUMBER,
        FailureKind.DISK_FULL,
    }
)
"""Failures that would recur until a person fixes the cause."""


@dataclass(frozen=True, slots=True)
class Next:
    """What happens to the job next."""

    outcome: Outcome
    again: bool = False
    """Whether the job is retried automatically."""
    not_before: float = 0.0
    """The earliest time of the retry (seconds since the epoch); 0: at once."""


def plan(
    outcome: Outcome,
    *,
    policy: RestartPolicy,
    failure: FailureKind | None,
    fruitless: int,
    advanced: bool,
    now: float,
    hang: Hang | None = None,
) -> Next:
    """What happens after an attempt with this outcome.

    `fruitless`: the consecutive attempts before this one without a newer checkpoint; `advanced`: this attempt made
    one; `hang`: the hang because of which it was interrupted.
    """
    if hang is not None and outcome.kind == "interrupted":
        if policy is RestartPolicy.NEVER:
            return Next(Outcome("failed", outcome.reason))
        if hang.before is not None:
            return Next(Outcome("failed", f"{outcome.reason} {_again(hang, hang.before)}"))
    wanted = (outcome.kind == "interrupted" and policy is not RestartPolicy.NEVER) or (
        outcome.kind == "failed" and policy is RestartPolicy.ON_FAILURE and failure not in POINTLESS
    )
    if not wanted:
        return Next(outcome)
    fruitless = 0 if advanced else fruitless + 1
    if fruitless >= FRUITLESS_LIMIT:
        reason = f"{outcome.reason} It was tried {fruitless} times without a new checkpoint and will not be retried."
        return Next(Outcome("failed", reason))
    pause = PAUSES[max(0, fruitless - 1)] if outcome.kind == "interrupted" else PAUSES[fruitless]
    return Next(outcome, again=True, not_before=now + pause if pause else 0.0)


@dataclass(frozen=True, slots=True)
class Restarts:
    """How often a job has been restarted automatically without a newer checkpoint, and how often it may be."""

    done: int
    allowed: int


def restarts(job: Job) -> Restarts | None:
    """None if the job has ended and will not be restarted."""
    if isinstance(job.state, Final):
        return None
    allowed = 0 if job.context.restart is RestartPolicy.NEVER else FRUITLESS_LIMIT - 1
    return Restarts(done=min(job.fruitless, allowed), allowed=allowed)


def _again(hang: Hang, before: int) -> str:
    if hang.step != before:
        return f"It had already hung at step {before} and got no further, so it will not be retried."
    at = f" at step {before}" if before else ""  # a program has no steps
    return f"It hung twice{at}, so it will not be retried."
