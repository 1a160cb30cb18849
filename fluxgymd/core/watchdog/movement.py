# SPDX-License-Identifier: Apache-2.0
"""What moved between two looks. Pure.

A counter is compared with its last *known* value, so a look at which it could not be read changes nothing. Movement
is any sign of life; work is what the phase is there for, and only work makes progress.
"""

from dataclasses import dataclass, replace

from fluxgym.messages import Phase
from fluxgymd.core.watchdog.observation import Observation

CPU_SHARE = 0.05
"""Of one core. A hung trainer is not quite silent: a progress bar's thread that wakes ten times a second, NCCL's own
watchdog, a connection that is kept alive use 0.1 to 2 %. One that loads, casts, hashes or launches kernels uses from
20 % of a core upwards."""
IO_RATE = 64 * 1024
"""Bytes a second. What goes on around a hung trainer, the shim that follows its log, connections kept alive, stays
below 20 KB/s (5 to 15 in tests/traces/recorded/); a slow line brings 100 KB/s, a slow disk 1 MB/s and more."""
PRESSURE = 20.0
"""Per cent of full stall (PSI): above it the machine swaps for its life, and what is read may be its own swap."""

FULL = 1 << 20
"""Bytes free where the home lies: with less nothing can be relied on to be written."""

READS = frozenset({Phase.STARTING, Phase.DOWNLOADING, Phase.LOADING})
"""Phases whose work has no counter: it is to bring bytes in."""


@dataclass(frozen=True, slots=True)
class Known:
    """The last known value of a counter, and when (CLOCK_MONOTONIC, seconds)."""

    value: float
    clock: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Counters:
    """Their last known values; None until known for the first time."""

    cpu: Known | None = None
    io: Known | None = None
    log: int | None = None
    """0 as long as there is none, and where it could not be read."""
    step: int | None = None
    done: int | None = None
    """In `phase`."""
    phase: Phase | None = None
    cache_files: int | None = None
    output_bytes: int | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Movement:
    """Between the last known values and this look. None: not known."""

    told: bool
    """Whether the phase and its counters could be told, and read, at this look."""
    steps: int
    items: int
    """Pictures, samples, micro-steps: what else is counted one by one."""
    output: bool
    log: bool
    cpu: float | None
    """Share of one core."""
    io: float | None
    """Bytes a second."""
    gpu: bool | None
    """Whether one of its GPUs worked. None: NVML is silent, or there is no GPU."""
    thrashing: bool
    phase: Phase | None

    @property
    def counted(self) -> bool:
        """Work that can be counted: it cannot be mistaken for anything else."""
        return self.steps > 0 or self.items > 0

    @property
    def worked(self) -> bool:
        """The phase's work went on: counted, or bytes that it is there to move."""
        reads = self.phase in READS and bool(self.signs.get("input and output")) and not self.thrashing
        return self.counted or self.output or reads

    @property
    def signs(self) -> dict[str, bool | None]:
        """Each sign of life by its name: seen, not seen, not known."""
        return {
            "steps": self.steps > 0,
            "items": self.items > 0,
            "files": self.output,
            "log": self.log,
            "processor": None if self.cpu is None else self.cpu >= CPU_SHARE,
            "input and output": None if self.io is None else self.io >= IO_RATE,
            "GPU": self.gpu,
        }

    @property
    def alive(self) -> bool | None:
        """Whether anything moved. None if nothing was seen to, and the processor time is not known: a trainer of
        which so little is known is neither healthy nor still."""
        if any(self.signs.values()):
            return True
        return None if self.cpu is None else False


def compare(before: Counters, look: Observation, *, gpu_idle_percent: float) -> tuple[Counters, Movement]:
    """The counters after a look, and what moved since their last known values."""
    readable = look.told and look.phase not in (None, Phase.UNKNOWN)
    phase = look.phase if readable else before.phase
    done_before = before.done if phase is before.phase else None
    cpu = look.activity.cpu_seconds if look.activity else None
    io = look.activity.io_bytes if look.activity else None
    movement = Movement(
        told=readable and not disk_is_full(look),
        steps=_grown(before.step, look.step),
        items=_grown(done_before, look.done) + _grown(before.cache_files, look.cache_files),
        output=_grown(before.output_bytes, look.output_bytes) > 0,
        log=before.log is not None and look.log_bytes > before.log,
        cpu=_rate(before.cpu, cpu, look.clock),
        io=_rate(before.io, io, look.clock),
        gpu=_works(look, gpu_idle_percent),
        thrashing=look.memory_pressure is not None and look.memory_pressure >= PRESSURE,
        phase=phase,
    )
    return _after(before, look, phase=phase, cpu=cpu, io=io), movement


def disk_is_full(look: Observation) -> bool:
    """Whether what a trainer tells of its progress is lost: it goes on all the same."""
    return look.disk_free is not None and look.disk_free < FULL


def _after(
    before: Counters, look: Observation, *, phase: Phase | None, cpu: float | None, io: int | None
) -> Counters:
    same = phase is before.phase
    return replace(
        before,
        cpu=before.cpu if cpu is None else Known(cpu, look.clock),
        io=before.io if io is None else Known(io, look.clock),
        log=look.log_bytes or before.log or 0,
        step=before.step if look.step is None else look.step,
        done=before.done if look.done is None and same else look.done,
        phase=phase,
        cache_files=before.cache_files if look.cache_files is None else look.cache_files,
        output_bytes=before.output_bytes if look.output_bytes is None else look.output_bytes,
    )


def _grown(before: int | None, now: int | None) -> int:
    """What was added. A count that is known for the first time, or that begins anew, adds nothing: it may be old."""
    return 0 if before is None or now is None else max(0, now - before)


def _rate(before: Known | None, now: float | None, clock: float) -> float | None:
    if before is None or now is None or clock <= before.clock:
        return None
    return max(0.0, now - before.value) / (clock - before.clock)


def _works(look: Observation, idle_percent: float) -> bool | None:
    """Utilisation is of the device, whoever uses it: that it works is no proof of life, that it is idle is one of
    rest."""
    known = [gpu.utilization for gpu in look.gpus or () if gpu.utilization is not None and not gpu.lost]
    if any(percent >= idle_percent for percent in known):
        return True
    return False if known and len(known) == len(look.gpus or ()) else None
