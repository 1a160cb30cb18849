# SPDX-License-Identifier: Apache-2.0
"""Which Xid events are new, and which of them a training cannot survive."""

import pytest

from fluxgymd.core.watchdog.faults import FATAL_XIDS, XidCounts, fatal, new_xids
from tests.core.watchdog.looking import gpu


@pytest.mark.parametrize(
    ("before", "now", "new"),
    [
        ({}, (79, 13), ()),  # from before the first look
        ({"GPU-0": 0}, (79,), (79,)),
        ({"GPU-0": 1}, (79, 13, 31), (13, 31)),
        ({"GPU-0": 2}, (79, 13), ()),
        ({"GPU-0": 2}, (31,), (31,)),  # a new probe has a list of its own
        ({"GPU-1": 0}, (79,), ()),
    ],
)
def test_new_xid_events_are_those_since_the_last_look(
    before: XidCounts, now: tuple[int, ...], new: tuple[int, ...]
) -> None:
    known, found = new_xids(before, (gpu(50, xids=now),))
    assert found == new
    assert known == {**before, "GPU-0": len(now)}


def test_a_silent_nvml_forgets_nothing() -> None:
    assert new_xids({"GPU-0": 3}, None) == ({"GPU-0": 3}, ())


def test_the_documented_errors_are_fatal() -> None:
    assert fatal((gpu(50),), (13, 31, 43, 45, 63, 94)) is None
    assert fatal((gpu(50),), (31, 79)) == "the driver reported Xid 79: it has fallen off the bus"
    assert fatal((gpu(None, lost=True),), ()) == "GPU 0 is lost: the driver cannot reach it"
    assert fatal(None, (48,)) == "the driver reported Xid 48: an uncorrectable memory error"
    assert {13, 31, 43, 45, 63, 74, 92, 94}.isdisjoint(FATAL_XIDS)
