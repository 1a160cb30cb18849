# SPDX-License-Identifier: Apache-2.0
"""A training does what its plan says: three draws here; FLUXGYM_PLAN_DRAWS=50 plays that many. (`./dev soak plans`
plays jobs of a daemon.)"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.sd_scripts.plans.draw import draw
from tests.sd_scripts.plans.playing import play
from tests.sd_scripts.running import Models

DRAWS = int(os.environ.get("FLUXGYM_PLAN_DRAWS", "3"))


@pytest.mark.parametrize("number", range(1, DRAWS + 1))
def test_a_training_does_what_its_plan_says(models: Models, tmp_path: Path, number: int) -> None:
    play(draw(seed=0, number=number), models, tmp_path)
