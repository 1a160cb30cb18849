# SPDX-License-Identifier: Apache-2.0
"""When a job is judged, and the reasons for which it is not."""

import pytest

from fluxgymd.core.job import Live, fold
from fluxgymd.core.watchdog.watched import is_told, why_not
from tests.core import histories as h

WAITS = "It waits for its start."
OVER = "It does not run any more."


@pytest.mark.parametrize(
    ("way", "why"),
    [
        ("queued", WAITS),
        ("interrupted", WAITS),
        ("starting", "Its trainer has not started yet."),
        ("running", None),
        ("stopping later", None),
        ("stopping", "It is being stopped."),
        ("lost", "Sight of it was lost, so nobody can say what it does."),
        ("completed", OVER),
        ("failed", OVER),
        ("stopped", OVER),
    ],
)
def test_a_job_is_judged_while_its_trainer_runs(way: str, why: str | None) -> None:
    assert why_not(fold(h.WAYS[way])) == why


def test_a_hang_is_judged_on_only_while_nothing_is_done_about_it() -> None:
    for acts, why in ((True, "It was found stuck, and is being stopped for that."), (False, None)):
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
def test_a_hang_is_told_once_and_once_more_when_it_is_to_be_acted_on(
    *, recorded: bool | None, phase: str, step: int, acts: bool, told: bool
) -> None:
    state = fold([*h.WAYS["running"], *([h.stuck(acts=recorded)] if recorded is not None else [])]).state
    assert isinstance(state, Live)
    assert is_told(state.attempt, phase=phase, step=step, acts=acts) is told
