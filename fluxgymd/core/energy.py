# SPDX-License-Identifier: Apache-2.0
"""Computes the energy that a job's GPUs use from readings of their power.

A daemon measures an attempt from its first reading on. For the time before that, which is short unless the daemon was
restarted in the meantime, the mean power of the rest is assumed. The energy is recorded when the attempt ends.
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
    """The time of that reading; CLOCK_MONOTONIC, seconds."""
    seconds: float = 0.0
    """Seconds from the first reading to the last."""
    joules: float = 0.0
    """Energy used in these seconds."""


def power(gpus: Sequence[Reading] | None) -> float | None:
    """The total power of these GPUs in watts. None without a GPU, or if one does not report its power."""
    draws = [gpu.power_draw for gpu in gpus or ()]
    told = [draw for draw in draws if draw is not None]
    return sum(told) if told and len(told) == len(draws) else None


def measure(meter: Meter | None, attempt: Attempt, watts: float, *, at: float, clock: float) -> Meter:
    """The meter after another reading of the attempt's GPUs. `at`: wall clock; `clock`: CLOCK_MONOTONIC."""
    if meter is None or meter.attempt != attempt.number:
        # Nothing can have run for longer than the machine, even if the wall clock was changed.
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
    """Watt hours of all attempts; None if the power of none is known."""
    present = of_attempt(meter, job.state.attempt) if isinstance(job.state, Live) else None
    return job.energy if present is None else (job.energy or 0.0) + present
