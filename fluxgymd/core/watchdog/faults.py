# SPDX-License-Identifier: Apache-2.0
"""Errors of a GPU: which of them a training cannot survive, and which are new at a look. Pure."""

from collections.abc import Mapping

from fluxgymd.core.gpu import Reading

FATAL_XIDS: Mapping[int, str] = {
    46: "the GPU stopped processing",
    48: "an uncorrectable memory error",
    62: "its micro-controller halted",
    64: "a memory row could not be remapped",
    79: "it has fallen off the bus",
    95: "an uncontained memory error",
    109: "a context switch timed out",
    110: "a security fault",
    119: "its system processor does not answer",
    120: "its system processor failed",
}
"""NVIDIA's catalog (docs.nvidia.com/deploy/xid-errors/analyzing-xid-catalog.html): those for which it asks that the
GPU be reset or the machine be restarted. The others end the application at most (13, 31, 43, 94: RESTART_APP) or are
to be ignored (45, 63, 92); 74 is of NVLink, which a training on one GPU does not use."""

Seen = Mapping[str, int]
"""How many Xid events of each GPU, by UUID, were known at the last look."""


def new_xids(before: Seen, gpus: tuple[Reading, ...] | None) -> tuple[Seen, tuple[int, ...]]:
    """What is known after a look, and the new events. Those that a GPU shows when it is first seen are older than the
    watch; a list that became shorter is that of a new probe, and wholly new."""
    after = dict(before)
    new: list[int] = []
    for gpu in gpus or ():
        if gpu.uuid in before:
            kept = before[gpu.uuid] if len(gpu.xids) >= before[gpu.uuid] else 0
            new += gpu.xids[kept:]
        after[gpu.uuid] = len(gpu.xids)
    return after, tuple(new)


def fatal(gpus: tuple[Reading, ...] | None, xids: tuple[int, ...]) -> str | None:
    """Why no training can go on there, as the end of a sentence; None if it may."""
    lost = next((gpu for gpu in gpus or () if gpu.lost), None)
    if lost is not None:
        return f"GPU {lost.index} is lost: the driver does not reach it"
    number = next((xid for xid in xids if xid in FATAL_XIDS), None)
    return None if number is None else f"the driver told Xid {number}: {FATAL_XIDS[number]}"
