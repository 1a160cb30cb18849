# SPDX-License-Identifier: Apache-2.0
"""A damaged job keeps its GPU, also where the reservation itself is what was damaged."""

import pytest

from fluxgymd.core import damage
from fluxgymd.core import events as e
from fluxgymd.core.job import fold
from tests.core import histories as h

RESERVED, SPAWNED, STARTED = e.encode(h.reserved()), e.encode(h.spawned()), e.encode(h.started())
ENDED = e.encode(h.ended("failed"))
AGAIN = e.encode(h.reserved(2, gpus=("GPU-2",)))
BAD = b"garbage"
NULS = bytes(200)


@pytest.mark.parametrize(
    ("way", "rest", "lease"),
    [
        ("queued", [BAD], None),
        ("running", [BAD], ("GPU-1",)),
        ("lost", [BAD], ("GPU-1",)),
        ("completed", [BAD], None),
        ("nothing", [BAD], None),
        # What follows the bad line was true when it was written.
        ("queued", [BAD, RESERVED, STARTED], ("GPU-1",)),
        ("nothing", [BAD, RESERVED, STARTED], ("GPU-1",)),
        ("queued", [BAD, RESERVED, e.encode(h.stop_asked()), e.encode(h.sight_lost())], ("GPU-1",)),
        ("running", [BAD, ENDED], None),
        ("running", [BAD, ENDED, AGAIN], ("GPU-2",)),
        ("lost", [BAD, e.encode(h.disowned())], None),
        ("queued", [BAD, e.encode(h.HELD), e.encode(h.MOVED), e.encode(h.EDITED)], None),
        ("running", [BAD, e.encode(h.EDITED)], ("GPU-1",)),
        ("queued", [BAD, RESERVED, STARTED, ENDED], None),
        # The bad line is the reservation: what can be read of it counts.
        ("queued", [RESERVED[:-20]], ("GPU-1",)),
        ("queued", [RESERVED.replace(b'"attempt":1', b'"attempt":1x')], ("GPU-1",)),
        ("queued", [RESERVED.replace(b"GPU-1", b"\0\0\0\0\0")[:-5]], ()),
        ("queued", [NULS, SPAWNED], ()),
        ("queued", [NULS, SPAWNED, STARTED, ENDED], None),
        # The end that was damaged proves nothing, and one more GPU is one more.
        ("running", [ENDED[:-10]], ("GPU-1",)),
        ("running", [ENDED[:-10], AGAIN[:-3]], ("GPU-1", "GPU-2")),
        ("running", [b"MIG-0123abcd-0000"], ("GPU-1", "MIG-0123abcd-0000")),
    ],
)
def test_promise_4_in_doubt_the_gpu_is_kept(way: str, rest: list[bytes], lease: tuple[str, ...] | None) -> None:
    before = fold(h.WAYS[way]) if h.WAYS[way] else None
    assert damage.lease(before, rest) == lease
