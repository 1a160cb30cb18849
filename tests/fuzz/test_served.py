# SPDX-License-Identifier: Apache-2.0
"""The soak fails if a daemon grows too much, or if an honest client has to wait too long."""

import pytest

from tests.fuzz.served import FEW, GROWTH_BYTES, Served


def test_memory_beyond_the_limit_fails_and_the_maximum_is_reported() -> None:
    served = Served()
    served.check_memory(GROWTH_BYTES - 1)
    served.check_memory(0)
    assert served.grown == GROWTH_BYTES - 1
    with pytest.raises(AssertionError, match="the daemon has grown by 21 MB"):
        served.check_memory(GROWTH_BYTES)


@pytest.mark.parametrize(("late", "in_time"), [(1, True), (2, True), (3, False)])
def test_one_answer_in_a_hundred_may_be_late(late: int, in_time: bool) -> None:
    served = Served(quiet=[0.001] * 300, busy=[0.019] * (300 - late) + [1.0] * late)
    assert served.report() is in_time


def test_a_few_calls_do_not_show_whether_a_client_had_to_wait() -> None:
    assert Served(quiet=[0.001] * 300, busy=[1.0] * (FEW - 1)).report()
    assert not Served(quiet=[0.001] * 300, busy=[1.0] * FEW).report()
