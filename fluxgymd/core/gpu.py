# SPDX-License-Identifier: Apache-2.0
"""One GPU as NVML tells it at one moment. A value that the driver does not tell is None."""

from fluxgymd.core.records import Record


class Reading(Record, frozen=True, kw_only=True):
    """Source of each field: NVML API reference, docs.nvidia.com/deploy/nvml-api."""

    index: int
    uuid: str
    name: str
    memory_total: int | None = None
    """Bytes."""
    memory_used: int | None = None
    utilization: int | None = None
    """Per cent of the last sample period in which a kernel ran: no sign of life, a hung collective shows 100."""
    temperature: int | None = None
    """Degrees Celsius."""
    power_draw: float | None = None
    """Watts."""
    power_limit: float | None = None
    """Watts."""
    sm_clock: int | None = None
    """MHz."""
    throttled: tuple[str, ...] | None = None
    """Why the clocks are lower than they could be: power_cap, thermal, hardware_slowdown, power_brake, sync_boost."""
    processes: tuple[int, ...] | None = None
    """Pids of the compute processes, in the namespace of the host."""
    xids: tuple[int, ...] = ()
    """Xid errors since the asking began, in their order (docs.nvidia.com/deploy/xid-errors)."""
    ecc_uncorrected: int | None = None
    """Uncorrected ECC errors since the driver was loaded."""
    lost: bool = False
    """NVML answers for the other GPUs, and says of this one that it is lost: it fell off the bus."""
