# SPDX-License-Identifier: Apache-2.0
"""What happens by itself after an attempt that did not end well: the job's restart policy, with its bounds.

A job goes on by itself only while its checkpoints advance: what brings nothing new is tried a few times, with growing
pauses, and then a person must look.
"""

from dataclasses import dataclass

from fluxgym.messages import FailureKind, RestartPolicy
from fluxgymd.core.job import Hang
from fluxgymd.core.verdict import Outcome

FRUITLESS_LIMIT = 5
"""Attempts in a row without a newer checkpoint, after which it is not tried again."""

PAUSES = (0.0, 30.0, 120.0, 300.0, 900.0)
"""Seconds before the next attempt, by the fruitless ones before it. The first is at once: a reboot is over."""

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
"""Failures that come again the same way until somebody does something."""


@dataclass(frozen=True, slots=True)
class Next:
    """What becomes of the job."""

    outcome: Outcome
    again: bool = False
    not_before: float = 0.0


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
    """`fruitless`: attempts in a row without a newer checkpoint before this one; `advanced`: this one made one;
    `hang`: that for which this one was interrupted."""
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
        reason = f"{outcome.reason} It was tried {fruitless} times without a new checkpoint, and is not tried again."
        return Next(Outcome("failed", reason))
    pause = PAUSES[max(0, fruitless - 1)] if outcome.kind == "interrupted" else PAUSES[fruitless]
    return Next(outcome, again=True, not_before=now + pause if pause else 0.0)


def _again(hang: Hang, before: int) -> str:
    if hang.step != before:
        return f"It had hung at step {before} before and came no further, and is not tried again."
    at = f" at step {before}" if before else ""  # a program has no steps
    return f"It hung twice{at}, and is not tried again."
