# SPDX-License-Identifier: Apache-2.0
"""The energy that the GPUs of a job use, from the readings of their power.

A daemon measures an attempt from its first reading on. The time before that, which is short unless the daemon was
restarted meanwhile, counts with the mean power of the rest. The end of an attempt records its energy.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from fluxgymd.core.gpu import Reading
from fluxgymd.core.job import Attempt, Job, Live
from fluxgymd.core.journal.records import MOST_ENERGY

JOULES_PER_WATT_HOUR = 3600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Meter:
    """The power of one attempt, from its first reading to its last."""

    attempt: int
    unseen: float
    """Seconds from the beginning of the attempt to the first reading."""
    watts: float
    """The last reading."""
    clock: float
    """When that was; CLOCK_MONOTONIC, seconds."""
    seconds: float = 0.0
    """From the first reading to the last."""
    joules: float = 0.0
    """Used in these seconds."""


def power(gpus: Sequence[Reading] | None) -> float | None:
    """The watts of all these GPUs together. None if there are none, or if one of them does not tell."""
    draws = [gpu.power_draw for gpu in gpus or ()]
    told = [draw for draw in draws if draw is not None]
    return sum(told) if told and len(told) == len(draws) else None


def measure(meter: Meter | None, attempt: Attempt, watts: float, *, at: float, clock: float) -> Meter:
    """The meter after one more reading of the attempt's GPUs. `at`: wall clock; `clock`: CLOCK_MONOTONIC."""
    if meter is None or meter.attempt != attempt.number:
        # Nothing runs for longer than the machine does, even if the wall clock was set.
        unseen = min(max(0.0, at - attempt.reserved_at), clock)
        return Meter(attempt=attempt.number, unseen=unseen, watts=watts, clock=clock)
    passed = clock - meter.clock
    return replace(
        meter,
        watts=watts,
        clock=clock,
        seconds=meter.seconds + passed,
        joules=meter.joules + passed * (meter.watts + watts) / 2,
    )


def of_attempt(meter: Meter | None, attempt: Attempt) -> float | None:
    """Watt hours of the attempt so far; None if no power is known."""
    if meter is None or meter.attempt != attempt.number:
        return None
    mean = meter.joules / meter.seconds if meter.seconds else meter.watts
    return min((meter.joules + mean * meter.unseen) / JOULES_PER_WATT_HOUR, MOST_ENERGY)


def of_job(job: Job, meter: Meter | None) -> float | None:
    """Watt hours of all attempts; None if no power is known of any."""
    present = of_attempt(meter, job.state.attempt) if isinstance(job.state, Live) else None
    return job.energy if present is None else (job.energy or 0.0) + present
