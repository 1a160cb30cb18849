# SPDX-License-Identifier: Apache-2.0
"""A training does what its plan says: three draws here, any number in `./dev soak plans`."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.sd_scripts.plans.draw import draw
from tests.sd_scripts.plans.playing import play
from tests.sd_scripts.running import Models


@pytest.mark.parametrize("number", [1, 2, 3])
def test_a_training_does_what_its_plan_says(models: Models, tmp_path: Path, number: int) -> None:
    play(draw(seed=0, number=number), models, tmp_path)
