# SPDX-License-Identifier: Apache-2.0
"""When a job is judged, and the reasons for which it is not."""

import pytest

from fluxgymd.core.job import Live, fold
from fluxgymd.core.watchdog.watched import is_told, why_not
from tests.core import histories as h

WAITS = "It is waiting to start."
OVER = "It is no longer running."


@pytest.mark.parametrize(
    ("way", "why"),
    [
        ("queued", WAITS),
        ("interrupted", WAITS),
        ("starting", "Its trainer has not started yet."),
        ("running", None),
        ("stopping later", None),
        ("stopping", "It is being stopped."),
        ("lost", "FluxGym has lost contact with the job, so it is unknown what the job is doing."),
        ("completed", OVER),
        ("failed", OVER),
        ("stopped", OVER),
    ],
)
def test_a_job_is_judged_while_its_trainer_runs(way: str, why: str | None) -> None:
    assert why_not(fold(h.WAYS[way])) == why


def test_a_hang_is_judged_further_only_while_nothing_is_done_about_it() -> None:
    for acts, why in ((True, "The watchdog found it stuck, so it is being stopped."), (False, None)):
        assert why_not(fold([*h.WAYS["running"], h.stuck(acts=acts)])) == why


@pytest.mark.parametrize(
    ("recorded", "phase", "step", "acts", "told"),
    [
        (None, "training", 40, True, False),
        (True, "training", 40, True, True),
        (True, "training", 40, False, True),
        (False, "training", 40, False, True),
        (False, "training", 40, True, False),
        (False, "training", 41, False, False),
        (False, "saving", 40, False, False),
    ],
)
def test_a_hang_is_reported_once_and_once_more_before_it_is_acted_on(
    *, recorded: bool | None, phase: str, step: int, acts: bool, told: bool
) -> None:
    state = fold([*h.WAYS["running"], *([h.stuck(acts=recorded)] if recorded is not None else [])]).state
    assert isinstance(state, Live)
    assert is_told(state.attempt, phase=phase, step=step, acts=acts) is told
