# SPDX-License-Identifier: Apache-2.0
"""One GPU as NVML reports it at one moment. A value that the driver doesn't report is None."""

from fluxgymd.core.journal.records import Record


class Reading(Record, frozen=True, kw_only=True):
    """A reading of one GPU. The fields are explained in the NVML API reference, docs.nvidia.com/deploy/nvml-api."""

    index: int
    uuid: str
    name: str
    memory_total: int | None = None
    """Bytes."""
    memory_used: int | None = None
    """Bytes."""
    utilization: int | None = None
    """Per cent of the last sample period in which a kernel ran. No proof of progress: a hung collective shows 100."""
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
    """Pids of the compute processes, in the host's pid namespace. Newer drivers use the caller's namespace instead,
    and leave out processes that have no pid there. None: this driver doesn't list processes."""
    xids: tuple[int, ...] = ()
    """Xid errors since the first reading, in order (docs.nvidia.com/deploy/xid-errors)."""
    ecc_uncorrected: int | None = None
    """Uncorrected ECC errors since the driver was loaded."""
    lost: bool = False
    """The GPU fell off the bus: NVML works, but reports this GPU as lost or not at all."""
