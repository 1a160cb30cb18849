# SPDX-License-Identifier: Apache-2.0
"""The noise levels of samples."""

from __future__ import annotations

import pytest

from library.flux import schedule


def test_the_levels_go_from_noise_to_picture() -> None:
    levels = schedule.levels(4, 4096, guided=True)
    assert (levels[0], levels[-1]) == (1, 0)
    assert levels[2].item() == pytest.approx(3.1582 / 4.1582, abs=1e-4)
    assert schedule.levels(4, 4096, guided=False).tolist() == [1, 0.75, 0.5, 0.25, 0]
