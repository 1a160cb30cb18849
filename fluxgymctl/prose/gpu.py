# SPDX-License-Identifier: Apache-2.0
"""What a running job's GPUs do, in words. Pure. A value that the driver does not report is unknown, never zero."""

from collections.abc import Callable

from fluxgym.protocol.messages import GpuReading, Job, State
from fluxgymctl.prose import words

UNKNOWN = "unknown"
_LOOKED_AT = (State.RUNNING, State.STOPPING)


def facts(job: Job) -> list[tuple[str, str]]:
    """A label and a value for each GPU of a running job; empty for a job on the CPU."""
    found = job.runtime.gpus
    if not _on_gpu(job):
        return []
    if found is None:
        return [("GPU", f"{UNKNOWN}: the driver has not answered")]
    return [(f"GPU {gpu.index}", one(gpu)) for gpu in found]


def one(gpu: GpuReading) -> str:
    """The load, memory, temperature and power of one GPU."""
    if gpu.lost:
        return "lost: it fell off the bus"
    memory = "memory unknown"
    if gpu.memory_used is not None:
        whole = f" of {words.size(gpu.memory_total)}" if gpu.memory_total is not None else ""
        memory = f"{words.size(gpu.memory_used)}{whole}"
    watts = "power unknown"
    if gpu.power_draw is not None:
        whole = f" of {gpu.power_limit:.0f}" if gpu.power_limit is not None else ""
        watts = f"{gpu.power_draw:.0f}{whole} W"
    load = "load unknown" if gpu.utilization is None else f"{gpu.utilization}% busy"
    heat = "temperature unknown" if gpu.temperature is None else f"{gpu.temperature} C"
    return f"{load}, {memory}, {heat}, {watts}"


def parts(job: Job) -> list[str]:
    """The same for one line: load, memory, temperature and power. The values of several GPUs are separated by `/`."""
    found = job.runtime.gpus
    if not _on_gpu(job):
        return []
    if found is None:
        return [f"GPU {UNKNOWN}"]
    if any(gpu.lost for gpu in found):
        return ["GPU lost"]
    gib = 1 << 30
    return [
        "GPU " + _each(found, lambda gpu: gpu.utilization, "{:.0f}", "%"),
        _each(found, lambda gpu: None if gpu.memory_used is None else gpu.memory_used / gib, "{:.1f}", " GiB"),
        _each(found, lambda gpu: gpu.temperature, "{:.0f}", " C"),
        _each(found, lambda gpu: gpu.power_draw, "{:.0f}", " W"),
    ]


def load(job: Job) -> str:
    """Only the load, for a table."""
    return parts(job)[0].removeprefix("GPU ") if _on_gpu(job) else words.ABSENT


def _on_gpu(job: Job) -> bool:
    attempt = job.runtime.attempt
    return job.runtime.state in _LOOKED_AT and attempt is not None and bool(attempt.gpus)


def _each(gpus: list[GpuReading], value: Callable[[GpuReading], float | None], form: str, unit: str) -> str:
    values = [value(gpu) for gpu in gpus]
    return "/".join("?" if number is None else form.format(number) for number in values) + unit
