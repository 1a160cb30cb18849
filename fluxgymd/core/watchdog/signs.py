# SPDX-License-Identifier: Apache-2.0
"""Describes what the watchdog sees of a training, in sentences: the evidence of a verdict, and reports for people.
Pure.

An unknown value is reported as unknown or left out, but never reported as zero.
"""

from fluxgymd.core.gpu import Reading
from fluxgymd.core.measures.span import span
from fluxgymd.core.watchdog.attribution import Owner, owner
from fluxgymd.core.watchdog.observation import Listed
from fluxgymd.core.watchdog.trail import Stretch, Trail

MIB = 1 << 20


def evidence(trail: Trail) -> tuple[str, ...]:
    """What was seen, from the training's own work down to the machine. It is never empty."""
    parts = (work(trail), *processes(trail), *gpus(trail), *machine(trail))
    return tuple(sentence for sentence in parts if sentence)


def work(trail: Trail) -> str:
    """How far the training has come, and since when it has come no further."""
    phase = trail.phase.value if trail.phase else "in a phase that it does not report"
    step, counters = "", trail.counters
    if counters.step is not None:
        total = trail.last.total_steps if trail.last else None
        step = f" at step {counters.step}" + (f" of {total}" if total else "")
    done = f", {counters.done} done" if counters.done is not None else ""
    slowest = trail.slowest(trail.phase) if trail.phase else None
    before = f" Before that, the slowest of the latest took {span(slowest)}." if slowest else ""
    repeats = " It is repeating steps that it has already done." if counters.repeats else ""
    return f"It is {phase}{step}{done}; no work was done for {_for(trail.work)}.{before}{repeats}"


def processes(trail: Trail) -> list[str]:
    """Processor time, input and output, the log, and the state of the threads."""
    moved, seen = trail.movement, trail.last.activity if trail.last else None
    if moved is None or seen is None:
        return ["It is unknown what its processes are doing."]
    found = []
    if moved.cpu is not None:
        found.append(f"Its processes used {100 * moved.cpu:.0f} % of a processor core in the last interval.")
    if moved.io is not None:
        found.append(f"They read and wrote {moved.io / MIB:.2f} MiB/s in files.")
    if trail.last is not None and trail.last.log_bytes:  # nothing can be said about a log that doesn't exist
        found.append("Its log grew." if moved.log else "Its log did not grow.")
    if seen.blocked_threads:
        where = f" in {seen.blocked_in}" if seen.blocked_in else ""
        found.append(f"{seen.blocked_threads} of {seen.threads} threads are waiting in the kernel{where} (state D).")
    if seen.stopped:
        found.append("Its process is stopped by a signal (state T).")
    if seen.frozen:
        found.append("Its cgroup is frozen.")
    return found


def gpus(trail: Trail) -> list[str]:
    """Each of the job's GPUs, and the errors that the driver reported."""
    look = trail.last
    if look is None or look.gpus == ():
        return []
    if look.gpus is None:
        return ["The state of its GPU is unknown: NVML does not answer."]
    found = [_gpu(gpu, look.listed) for gpu in look.gpus]
    if trail.xids:
        found.append(f"Since then, the driver has reported Xid {', '.join(map(str, trail.xids))}.")
    return found


def machine(trail: Trail) -> list[str]:
    """Memory and disk space, if they are short."""
    look = trail.last
    if look is None:
        return []
    found = []
    if look.memory_pressure is not None and trail.pressed is not None:
        found.append(f"All of its tasks wait for memory {look.memory_pressure:.0f} % of the time.")
    if look.activity is not None and look.activity.swap:
        found.append(f"{look.activity.swap / MIB:.0f} MiB of its memory are swapped out.")
    if look.disk_free is not None and look.disk_free < 64 * MIB:
        found.append(f"Only {look.disk_free / MIB:.0f} MiB are free on its disk.")
    return found


def _for(clock: Stretch | None) -> str:
    return span(clock.seconds) if clock else "an unknown time"


def _gpu(gpu: Reading, listed: Listed | None) -> str:
    if gpu.lost:
        return f"GPU {gpu.index} is lost: the driver cannot reach it."
    parts = []
    if gpu.utilization is not None:
        parts.append(f"{gpu.utilization} % busy")
    if gpu.power_draw is not None:
        limit = f" of {gpu.power_limit:.0f}" if gpu.power_limit is not None else ""
        parts.append(f"{gpu.power_draw:.0f}{limit} W")
    if gpu.memory_used is not None:
        parts.append(f"{gpu.memory_used / MIB:.0f} MiB used")
    if gpu.temperature is not None:
        parts.append(f"{gpu.temperature} °C")
    if gpu.throttled:
        parts.append(f"slowed down ({', '.join(gpu.throttled)})")
    if not parts:
        return f"GPU {gpu.index} reports nothing."
    return f"GPU {gpu.index}: {', '.join(parts)}.{_owner(gpu, listed)}"


def _owner(gpu: Reading, listed: Listed | None) -> str:
    """A further sentence on whose load it is, if the GPU has a load that may not be the job's; else empty."""
    if not gpu.utilization:
        return ""
    match owner(gpu, listed):
        case Owner.JOB:
            return ""
        case Owner.OTHERS:
            return " None of the job's processes is on it: the load comes from another program."
        case Owner.UNTOLD if gpu.processes is None:
            return " The load can't be attributed: the driver doesn't list processes."
        case Owner.UNTOLD:
            return " The load can't be attributed: NVML's pids belong to another pid namespace."
        case Owner.UNKNOWN:
            return " It is unknown whose load this is."
