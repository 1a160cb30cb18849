# SPDX-License-Identifier: Apache-2.0
"""Determines what moved between two looks. Pure.

A counter is compared with its last *known* value, so a look at which it could not be read changes nothing. Movement
is any sign of life. Work is the purpose of the phase, and only work is progress.
"""

from dataclasses import dataclass, replace

from fluxgym.protocol.messages import Phase
from fluxgymd.core.gpu import Reading
from fluxgymd.core.watchdog.attribution import Owner, owner
from fluxgymd.core.watchdog.observation import Listed, Observation

CPU_SHARE = 0.05
"""Share of one core from which processor time is a sign of life. A hung trainer uses 0.1 to 2 %: the thread of a
progress bar that wakes ten times a second, NCCL's own watchdog, a connection that is kept alive. A trainer that
loads, casts, hashes or launches kernels uses at least 20 %."""
IO_RATE = 64 * 1024
"""Bytes per second from which input and output are a sign of life. A hung trainer hardly moves any: a log, a status
file. A slow network brings 100 KB/s, a slow disk 1 MB/s and more."""
PRESSURE = 20.0
"""Per cent of time in which all tasks wait for memory (PSI, full). From this value on the machine is thrashing, and
what the job reads may be its own swap."""

FULL = 1 << 20
"""Free bytes on the disk of the home below which writes may fail."""

READS = frozenset({Phase.STARTING, Phase.DOWNLOADING, Phase.LOADING})
"""Phases whose work is to read data and has no other counter."""


@dataclass(frozen=True, slots=True)
class Known:
    """The last known value of a counter, and its time (CLOCK_MONOTONIC, seconds)."""

    value: float
    clock: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Counters:
    """The last known values of an observation's counters; None until first known."""

    cpu: Known | None = None
    io: Known | None = None
    log: int | None = None
    """Bytes; 0 until a log has been read."""
    step: int | None = None
    """The highest step of this attempt. An attempt that resumes has its own trail, which may start at a lower step
    than the previous attempt had reached."""
    repeats: bool = False
    """The trainer has reported a step below the highest, and none above it since: it repeats earlier work."""
    done: int | None = None
    """Items done in `phase`."""
    phase: Phase | None = None
    cache_files: int | None = None
    output_bytes: int | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Movement:
    """What moved between the last known values and this look. None: unknown."""

    told: bool
    """Whether the phase and its counters are known at this look: they could be read, and the disk has room for the
    trainer's reports."""
    steps: int
    """Steps above the attempt's highest so far."""
    repeats: bool
    items: int
    """Pictures, samples and micro-steps that were finished; 0 while the trainer repeats steps."""
    output: bool
    """Whether files that the job writes have grown."""
    log: bool
    """Whether the log has grown."""
    cpu: float | None
    """Processor time as a share of one core."""
    io: float | None
    """Bytes per second."""
    gpu: bool | None
    """Whether one of the job's GPUs worked, possibly for this job. None: NVML doesn't answer, there is no GPU, or
    whose work it was is unknown at this look."""
    thrashing: bool
    """The machine is so short of memory that reads may be the job's own swap."""
    phase: Phase | None

    @property
    def counted(self) -> bool:
        """Whether work was counted (a step or an item), which can't be mistaken for anything else."""
        return self.steps > 0 or self.items > 0

    @property
    def worked(self) -> bool:
        """Whether the phase's work made progress: something was counted, or bytes moved whose transfer is the phase's
        work. A trainer that repeats steps also loads, caches and saves again; none of that is progress."""
        reads = self.phase in READS and bool(self.signs.get("input and output")) and not self.thrashing
        return self.counted or (not self.repeats and (self.output or reads))

    @property
    def signs(self) -> dict[str, bool | None]:
        """All signs of life by name. True: seen; False: not seen; None: unknown."""
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
        """Whether anything moved. None if no movement was seen but the processor time is unknown: too little is known
        to call the trainer healthy or still."""
        if any(self.signs.values()):
            return True
        return None if self.cpu is None else False


def compare(before: Counters, look: Observation, *, gpu_idle_percent: float) -> tuple[Counters, Movement]:
    """The counters after a look, and what moved since the last known values."""
    readable = look.told and look.phase not in (None, Phase.UNKNOWN)
    phase = look.phase if readable else before.phase
    done_before = before.done if phase is before.phase else None
    cpu = look.activity.cpu_seconds if look.activity else None
    io = look.activity.io_bytes if look.activity else None
    after = _after(_marked(before, look), look, phase=phase, cpu=cpu, io=io)
    items = _grown(done_before, look.done) + _grown(before.cache_files, look.cache_files)
    movement = Movement(
        told=readable and not disk_is_full(look),
        steps=_grown(before.step, after.step),
        repeats=after.repeats,
        items=0 if after.repeats else items,
        output=_grown(before.output_bytes, look.output_bytes) > 0,
        log=before.log is not None and look.log_bytes > before.log,
        cpu=_rate(before.cpu, cpu, look.clock),
        io=_rate(before.io, io, look.clock),
        gpu=_works(look, gpu_idle_percent),
        thrashing=look.memory_pressure is not None and look.memory_pressure >= PRESSURE,
        phase=phase,
    )
    return after, movement


def disk_is_full(look: Observation) -> bool:
    """Whether the disk is full, so that the trainer's reports are lost. It keeps training all the same."""
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
        done=before.done if look.done is None and same else look.done,
        phase=phase,
        cache_files=before.cache_files if look.cache_files is None else look.cache_files,
        output_bytes=before.output_bytes if look.output_bytes is None else look.output_bytes,
    )


def _marked(before: Counters, look: Observation) -> Counters:
    """The counters with `step` and `repeats` as of this look. The trainer repeats from the first step below the
    highest until the first step above it."""
    highest = max((step for step in (before.step, look.highest_step, look.step) if step is not None), default=None)
    below = look.step is not None and highest is not None and look.step < highest
    return replace(before, step=highest, repeats=below or (before.repeats and highest == before.step))


def _grown(before: int | None, now: int | None) -> int:
    """How much a count has grown. A count that is first known now, or that restarted, has not: it may be old."""
    return 0 if before is None or now is None else max(0, now - before)


def _rate(before: Known | None, now: float | None, clock: float) -> float | None:
    if before is None or now is None or clock <= before.clock:
        return None
    return max(0.0, now - before.value) / (clock - before.clock)


def _works(look: Observation, idle_percent: float) -> bool | None:
    """Whether any of the job's GPUs worked; False only if all are known to be idle, else None."""
    works = [_works_on(gpu, look.listed, idle_percent) for gpu in look.gpus or ()]
    if any(works):
        return True
    return False if works and None not in works else None


def _works_on(gpu: Reading, listed: Listed | None, idle_percent: float) -> bool | None:
    if gpu.utilization is None or gpu.lost:
        return None
    if gpu.utilization < idle_percent:
        return False
    match owner(gpu, listed):
        case Owner.JOB | Owner.UNTOLD:  # if it can't be determined, a healthy job must not be taken for a dead one
            return True
        case Owner.OTHERS:
            return False
        case Owner.UNKNOWN:
            return None
