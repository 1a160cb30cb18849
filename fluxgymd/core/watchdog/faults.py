# SPDX-License-Identifier: Apache-2.0
"""Errors of a GPU: which of them a training can't survive, and which are new at a look. Pure."""

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
"""The Xids for which NVIDIA's catalog (docs.nvidia.com/deploy/xid-errors/analyzing-xid-catalog.html) asks for a reset
of the GPU or a restart of the machine. Others end the application at most (13, 31, 43, 94: RESTART_APP) or can be
ignored (45, 63, 92); 74 is an error of NVLink, which a training on one GPU doesn't use."""

XidCounts = Mapping[str, int]
"""The number of Xid events of each GPU, by UUID, as of the last look."""


def new_xids(before: XidCounts, gpus: tuple[Reading, ...] | None) -> tuple[XidCounts, tuple[int, ...]]:
    """The counts after a look, and the new events.

    Events that a GPU has when it is first seen are older than the watch. If a list has become shorter, it is from a
    new probe, and all its events are new.
    """
    after = dict(before)
    new: list[int] = []
    for gpu in gpus or ():
        if gpu.uuid in before:
            kept = before[gpu.uuid] if len(gpu.xids) >= before[gpu.uuid] else 0
            new += gpu.xids[kept:]
        after[gpu.uuid] = len(gpu.xids)
    return after, tuple(new)


def fatal(gpus: tuple[Reading, ...] | None, xids: tuple[int, ...]) -> str | None:
    """Why no training can continue on these GPUs, as the end of a sentence; None if one can. `xids`: new events."""
    lost = next((gpu for gpu in gpus or () if gpu.lost), None)
    if lost is not None:
        return f"GPU {lost.index} is lost: the driver cannot reach it"
    number = next((xid for xid in xids if xid in FATAL_XIDS), None)
    return None if number is None else f"the driver reported Xid {number}: {FATAL_XIDS[number]}"
