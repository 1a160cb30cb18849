# SPDX-License-Identifier: Apache-2.0
"""Which waiting jobs start now, and on which GPU: a pure function of the jobs and the machine.

A GPU is never given to two jobs (promise 4): whatever a live, lost or damaged job holds is taken.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from fluxgymd.core.job import Job, Waiting


@dataclass(frozen=True, slots=True)
class Start:
    """One decision."""

    job: str
    gpus: tuple[str, ...]


def choose(jobs: Iterable[Job], held: Iterable[tuple[str, ...]], gpus: Sequence[str]) -> list[Start]:
    """What to start, best first. `held`: the leases that exist; `gpus`: UUIDs, empty for a machine without a GPU,
    which has one slot for the CPU."""
    leases = list(held)
    taken = {gpu for lease in leases for gpu in lease}
    # Once each, however often a driver may list it.
    slots: list[tuple[str, ...]] = [(gpu,) for gpu in dict.fromkeys(gpus) if gpu not in taken]
    if not gpus and not leases:
        slots = [()]
    waiting = sorted(
        (job for job in jobs if isinstance(job.state, Waiting)),
        key=lambda job: (-job.priority, job.rank, job.id),
    )
    return [Start(job.name, slot) for job, slot in zip(waiting, slots, strict=False)]
