# SPDX-License-Identifier: Apache-2.0
"""Advice for the owner of a lost job: only what helps where the job was started."""

import pytest

from fluxgymd.core.lost import Reach, advice


@pytest.mark.parametrize("stop_asked", [False, True])
@pytest.mark.parametrize("reach", Reach)
def test_a_lost_job_is_given_up_by_assertion_only_if_nobody_can_look(reach: Reach, *, stop_asked: bool) -> None:
    text = advice("cat", reach, stop_asked=stop_asked)
    assert ("`fluxgymctl resume --assume-gone cat`" in text) == (reach is not Reach.HERE)
    assert ("continues automatically" in text) == (reach is Reach.HERE)
    assert ("`fluxgymctl stop cat`" in text) == (reach is Reach.HERE and not stop_asked)
    assert text.endswith(".")
