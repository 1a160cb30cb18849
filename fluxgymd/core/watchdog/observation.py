# SPDX-License-Identifier: Apache-2.0
"""What is seen of one attempt at one look. Counters only grow while the attempt lasts; None is *unknown*, which is
never taken for zero and never for healthy.
"""

from fluxgym.messages import Phase
from fluxgymd.core.gpu import Reading
from fluxgymd.core.records import Record


class Activity(Record, frozen=True, kw_only=True):
    """What the processes of the attempt do: of its cgroup, or summed up over its members."""

    cpu_seconds: float | None = None
    """Processor time used, user and system."""
    io_bytes: int | None = None
    """Bytes read and written, by system calls and from and to storage (proc(5), /proc/PID/io): it moves also while a
    mapped file is paged in, and while a download is written."""
    threads: int = 0
    blocked_threads: int = 0
    """In state D: they wait in the kernel and cannot be killed while they do."""
    blocked_in: str | None = None
    """The kernel function that one of them waits in (/proc/PID/wchan), where it can be read."""
    stopped: bool = False
    """The trainer's process is stopped by a signal (state T or t)."""
    frozen: bool = False
    """Its cgroup is frozen."""
    memory: int | None = None
    """Bytes of memory that it holds."""
    swap: int | None = None
    """Bytes of it that are swapped out."""


class Observation(Record, frozen=True, kw_only=True):
    """One look."""

    at: float
    """Wall clock, for people."""
    clock: float
    """CLOCK_MONOTONIC, seconds: it stands still while the machine sleeps, and no one sets it."""
    phase: Phase | None = None
    """As the trainer told last, or as its output was read; None where it cannot be told."""
    told: bool = True
    """False: the files did not answer at this look; what they tell is of an earlier one, and says nothing of now."""
    step: int | None = None
    """Optimizer steps done, over all attempts."""
    total_steps: int | None = None
    done: int | None = None
    """Items done in this phase: pictures cached, samples made, denoising steps of a sample, micro-steps."""
    longest_step: float | None = None
    """Seconds: the longest time between two steps told one after the other, of those told since the look before."""
    cache_files: int | None = None
    """Cache files of this job that are there."""
    output_bytes: int | None = None
    """Sizes of what the job has written into its home: LoRAs, states (half ones too) and samples."""
    log_bytes: int = 0
    """Size of training.log."""
    activity: Activity | None = None
    gpus: tuple[Reading, ...] | None = None
    """The GPUs of the attempt. None: NVML does not answer, or there is none. Empty: it runs on the CPU."""
    memory_pressure: float | None = None
    """Per cent of the last 10 s in which all of its tasks waited for memory (PSI, memory.pressure, full avg10)."""
    disk_free: int | None = None
    """Bytes free where the home lies."""
