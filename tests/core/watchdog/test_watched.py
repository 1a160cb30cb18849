# SPDX-License-Identifier: Apache-2.0
"""When a job is judged, and why not."""

import pytest

from fluxgymd.core.job import fold
from fluxgymd.core.watchdog.watched import why_not
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
