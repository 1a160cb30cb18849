# SPDX-License-Identifier: Apache-2.0
"""A damaged job keeps its GPUs. If its reservation cannot be read, it may keep every GPU of the machine."""

import pytest

from fluxgymd.core import damage
from fluxgymd.core.damage import EVERYTHING, Traces
from fluxgymd.core.job import fold
from fluxgymd.core.journal import events as e
from tests.core import histories as h

RESERVED, SPAWNED, STARTED = e.encode(h.reserved()), e.encode(h.spawned()), e.encode(h.started())
ENDED = e.encode(h.ended("failed"))
AGAIN = e.encode(h.reserved(2, gpus=("GPU-2",)))
BAD = b"garbage"
NULS = bytes(200)


SECOND = e.encode(h.reserved(2, gpus=("GPU-2", "GPU-3")))


@pytest.mark.parametrize(
    ("way", "rest", "lease", "certain"),
    [
        ("queued", [BAD], None, False),
        ("running", [BAD], ("GPU-1",), False),
        ("lost", [BAD], ("GPU-1",), False),
        ("completed", [BAD], None, False),
        ("nothing", [BAD], None, False),
        ("nothing", [], None, False),
        ("queued", [], None, True),
        ("queued", [SPAWNED, STARTED], None, False),  # impossible without a reservation
        # Events after the bad line were true when they were written.
        ("queued", [BAD, RESERVED, STARTED], ("GPU-1",), True),
        ("nothing", [BAD, RESERVED, STARTED], ("GPU-1",), True),
        ("queued", [BAD, RESERVED, e.encode(h.stop_asked()), e.encode(h.sight_lost())], ("GPU-1",), True),
        ("running", [BAD, ENDED], None, True),
        ("running", [BAD, ENDED, AGAIN], ("GPU-2",), True),
        ("lost", [BAD, e.encode(h.disowned())], None, True),
        ("queued", [BAD, e.encode(h.HELD), e.encode(h.MOVED), e.encode(h.EDITED)], None, False),
        ("running", [BAD, e.encode(h.EDITED)], ("GPU-1",), False),
        ("queued", [BAD, RESERVED, STARTED, ENDED], None, True),
        ("running", [BAD, ENDED, b""], None, True),  # the empty rest after the last newline
        # The bad line is the reservation: the GPUs that can be read from it count, and there are no others if its
        # list is complete.
        ("queued", [RESERVED[:-20]], ("GPU-1",), True),
        ("queued", [RESERVED.replace(b'"attempt":1', b'"attempt":1x')], ("GPU-1",), True),
        ("queued", [SECOND[: SECOND.index(b"GPU-2") + 3]], None, False),
        ("queued", [SECOND[: SECOND.index(b"GPU-3")]], ("GPU-2",), False),
        ("queued", [SECOND.replace(b"GPU-3", b"\0\0\0\0\0")], ("GPU-2",), False),
        ("queued", [RESERVED.replace(b"GPU-1", b"\0\0\0\0\0")[:-5]], None, False),
        ("queued", [e.encode(h.reserved(gpus=()))[:-5]], (), True),
        ("queued", [NULS, SPAWNED], None, False),
        ("queued", [NULS, SPAWNED, STARTED, ENDED], None, True),
        ("nothing", [SPAWNED, STARTED], None, False),
        # A damaged end proves nothing, and a GPU that is named in a damaged line is kept as well.
        ("running", [ENDED[:-10]], ("GPU-1",), False),
        ("running", [ENDED[:-10], AGAIN[:-3]], ("GPU-1", "GPU-2"), False),
        ("running", [b"MIG-0123abcd-0000"], ("GPU-1", "MIG-0123abcd-0000"), False),
    ],
)
def test_promise_4_a_damaged_journal_still_determines_the_lease(
    way: str, rest: list[bytes], lease: tuple[str, ...] | None, certain: bool
) -> None:
    before = fold(h.WAYS[way]) if h.WAYS[way] else None
    found = damage.traces(before, rest)
    assert (found.lease, found.certain) == (lease, certain)


@pytest.mark.parametrize("lease", [None, (), ("GPU-1",)])
def test_promise_4_in_case_of_doubt_every_gpu_is_kept(lease: tuple[str, ...] | None) -> None:
    uncertain, certain = Traces(lease=lease, certain=False), Traces(lease=lease)
    assert damage.kept(uncertain, may_run={None}) is EVERYTHING
    assert damage.kept(uncertain, may_run={1}) is EVERYTHING
    # If nothing may run, or if no reservation may be hidden, exactly the recorded GPUs are kept.
    assert damage.kept(uncertain, may_run=()) == lease
    assert damage.kept(certain, may_run={1, None}) == damage.kept(certain, may_run=()) == lease


def test_promise_4_an_attempt_whose_reservation_can_be_read_keeps_only_its_own_gpus() -> None:
    running = damage.traces(fold(h.WAYS["running"]), [BAD])
    assert damage.kept(running, may_run={1}) == ("GPU-1",)
    assert damage.kept(running, may_run={1, 2}) is EVERYTHING, "the second one's reservation is the bad line"
    ended = damage.traces(fold(h.WAYS["completed"]), [BAD])
    assert damage.kept(ended, may_run={1}) == ("GPU-1",), "its leftovers"
    two = damage.traces(fold(h.WAYS["running"]), [ENDED, AGAIN, BAD])
    assert damage.kept(two, may_run={1, 2}) == ("GPU-1", "GPU-2")
