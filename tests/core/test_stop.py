# SPDX-License-Identifier: Apache-2.0
"""Which signal is due at each moment of a stop."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fluxgymd.core.stop import ABORT_SECONDS, KILL_AGAIN_SECONDS, KILL_MARGIN_SECONDS, Due, Stop, begin, step

LIMIT = 30.0
KILL_AT = LIMIT + 1 + LIMIT + KILL_MARGIN_SECONDS


def stop(*, abort: bool = False) -> Stop:
    return begin(LIMIT, abort=abort, now=0.0)


def told(stop: Stop, *moments: float, trainer_ended: bool = False) -> list[tuple[float, Due]]:
    """What was due at these moments, without those at which nothing was. The trainer gets each SIGTERM."""
    done: list[tuple[float, Due]] = []
    for now in moments:
        stop, due = step(stop, trainer_ended=trainer_ended, now=now)
        if due is Due.TERMINATE:
            stop = replace(stop, terminated=True)
        if due is not Due.NOTHING:
            done.append((now, due))
    return done


def test_first_the_trainer_alone_is_asked_and_then_everything_is_stopped_and_killed() -> None:
    moments = [0.0, 1.0, LIMIT, LIMIT + 1, LIMIT + 2, KILL_AT - 1, KILL_AT, KILL_AT + 1]
    assert told(stop(), *moments) == [(0.0, Due.TERMINATE), (LIMIT + 1, Due.STOP), (KILL_AT, Due.KILL)]


def test_what_outlives_a_sigkill_gets_another_one() -> None:
    again = KILL_AT + KILL_AGAIN_SECONDS
    moments = [0.0, LIMIT + 1, KILL_AT, again - 1, again]
    assert told(stop(), *moments)[2:] == [(KILL_AT, Due.KILL), (again, Due.KILL)]


def test_the_time_of_the_first_sigkill_is_kept() -> None:
    killed = Stop(limit=LIMIT, abort=False, stop_at=LIMIT, kill_at=KILL_AT)
    killed, _ = step(killed, trainer_ended=False, now=KILL_AT + 2)
    assert killed.killed_at == KILL_AT + 2
    killed, due = step(killed, trainer_ended=False, now=KILL_AT + 100)
    assert (due, killed.killed_at) == (Due.KILL, KILL_AT + 2)


def test_a_sigterm_stays_due_until_a_trainer_got_it() -> None:
    first, due = step(stop(), trainer_ended=False, now=0.0)
    assert due is Due.TERMINATE
    assert step(first, trainer_ended=False, now=1.0)[1] is Due.TERMINATE
    assert step(first, trainer_ended=False, now=LIMIT + 1)[1] is Due.STOP


def test_a_hung_trainer_is_aborted_once_and_has_time_to_write_its_stacks() -> None:
    aborted = LIMIT + 1
    moments = [0.0, aborted, aborted + 1, aborted + ABORT_SECONDS, aborted + ABORT_SECONDS + 1]
    assert told(stop(abort=True), *moments) == [
        (0.0, Due.TERMINATE),
        (aborted, Due.ABORT),
        (aborted + ABORT_SECONDS + 1, Due.STOP),
    ]


def test_an_abort_is_not_repeated_and_a_trainer_that_came_late_still_gets_its_sigterm() -> None:
    aborted, due = step(stop(abort=True), trainer_ended=False, now=LIMIT + 1)
    assert due is Due.ABORT
    assert step(aborted, trainer_ended=False, now=LIMIT + 2)[1] is Due.TERMINATE


@pytest.mark.parametrize("now", [0.0, LIMIT + 1])
def test_a_trainer_that_has_ended_needs_no_signal_and_no_time(now: float) -> None:
    assert told(stop(abort=True), now, now + 1, trainer_ended=True) == [(now, Due.STOP)]
