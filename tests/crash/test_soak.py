# SPDX-License-Identifier: Apache-2.0
"""Which rounds the soak plays in which world, and a few of these rounds. Other tests here cover its checks."""

from collections import Counter
from itertools import groupby

import pytest

from tests.crash import soak
from tests.fuzz.served import Served


def test_of_300_rounds_40_train_and_70_have_a_user_manager_and_100_a_full_disk() -> None:
    numbers = range(1, 301)
    worlds = Counter(map(soak.world_of, numbers))
    assert worlds == {
        "trainings under a user manager": 40,
        "programs under a user manager": 30,
        "programs of a daemon without one": 230,
    }
    assert sum(number % soak.FULL == 0 for number in numbers) == 100
    full = {soak.world_of(number) for number in numbers if number % soak.FULL == 0}
    assert full == worlds.keys()


def test_a_world_plays_several_rounds_in_a_row() -> None:
    assert len(list(groupby(range(1, 301), key=soak.world_of))) <= 31


@pytest.mark.systemd
@pytest.mark.parametrize("first", [4, 7])
def test_promises_1_to_5_and_8_a_few_drawn_rounds(first: int) -> None:
    """Rounds with programs, with and without a user manager. One of the three rounds has a full disk."""
    assert soak.play_all(1, range(first, first + 3), Served()) == []
