# SPDX-License-Identifier: Apache-2.0
"""The facts about one attempt at one look. Counters usually only grow during an attempt. None means *unknown*, which
is never taken for zero or for healthy.
"""

from fluxgym.protocol.messages import Phase
from fluxgymd.core.gpu import Reading
from fluxgymd.core.journal.records import Record


class Activity(Record, frozen=True, kw_only=True):
    """What the attempt's processes do: values of its cgroup, or sums over its members."""

    cpu_seconds: float | None = None
    """Processor time used, user and system."""
    io_bytes: int | None = None
    """Bytes that really moved: from and to storage (proc(5), /proc/PID/io), pages that a process had to wait for, and
    the advance in large files (/proc/PID/fdinfo), which shows data from the page cache or from a network. Reads from
    /proc, pipes and sockets don't count. Some bytes count twice."""
    threads: int = 0
    blocked_threads: int = 0
    """Threads in state D, which wait in the kernel and can't be killed while they do."""
    blocked_in: str | None = None
    """The kernel function in which one of them waits (/proc/PID/wchan), if it can be read."""
    stopped: bool = False
    """The trainer's process is stopped by a signal (state T or t)."""
    frozen: bool = False
    """The attempt's cgroup is frozen."""
    memory: int | None = None
    """Bytes of memory in use."""
    swap: int | None = None
    """Bytes that are swapped out."""


class Listed(Record, frozen=True, kw_only=True):
    """The pids in NVML's lists for the attempt's GPUs that name processes in the daemon's pid namespace."""

    own: tuple[int, ...] = ()
    """Pids of the attempt's processes."""
    here: tuple[int, ...] = ()
    """Pids of any process, of any user."""


class Observation(Record, frozen=True, kw_only=True):
    """One look."""

    at: float
    """Wall clock, for people."""
    clock: float
    """CLOCK_MONOTONIC, seconds: it pauses while the machine sleeps, and nobody can set it."""
    phase: Phase | None = None
    """As last reported by the trainer or read from its output; None if it can't be determined."""
    told: bool = True
    """False: the trainer's files could not be read at this look, so phase and counters are from an earlier one."""
    untold_why: str | None = None
    """A clause on why not, if that is known: for example, another file has replaced the one that it reports to."""
    step: int | None = None
    """Optimizer steps done, over all attempts, as last reported."""
    highest_step: int | None = None
    """The highest step that this attempt has reported: between two looks there may be many reports."""
    total_steps: int | None = None
    done: int | None = None
    """Items done in this phase: pictures cached, samples made, denoising steps of a sample, micro-steps."""
    longest_step: float | None = None
    """Seconds: the longest time between two consecutive steps among those reported since the previous look."""
    cache_files: int | None = None
    """Number of existing cache files of this job."""
    output_bytes: int | None = None
    """Total size of what the job has written to its home: LoRAs, states (including partial ones) and samples."""
    log_bytes: int = 0
    """Size of training.log; 0 if there is none or it can't be read."""
    activity: Activity | None = None
    gpus: tuple[Reading, ...] | None = None
    """The GPUs of the attempt. None: NVML doesn't answer, or there is none. Empty: the attempt runs on the CPU."""
    listed: Listed | None = None
    """None: the attempt's processes could not be listed at this look."""
    memory_pressure: float | None = None
    """Per cent of the last 10 s in which all tasks waited for memory (PSI, memory.pressure, full avg10)."""
    disk_free: int | None = None
    """Free bytes on the disk of the home."""
