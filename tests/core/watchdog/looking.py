# SPDX-License-Identifier: Apache-2.0
"""Looks at a training, for tests with tables: `look(5, step=3)` is the fifth look, 30 s after the fourth."""

from collections.abc import Iterable
from typing import Any

from fluxgym.protocol.messages import Phase
from fluxgymd.core.gpu import Reading
from fluxgymd.core.watchdog.limits import Limits
from fluxgymd.core.watchdog.observation import Activity, Listed, Observation
from fluxgymd.core.watchdog.trail import Trail, begin, follow
from tests.core.watchdog.usual import USUAL

INTERVAL = 30.0
BEGIN = 1_790_000_000.0
OWN, STRANGER, ELSEWHERE = 4711, 815, 3_000_000
"""Pids: of the job, of another program here, and of no process in our pid namespace."""


def look(number: float, **values: Any) -> Observation:
    """A look with `values`. Everything else is unchanged: training at step 100, no processor time used, no GPU
    known."""
    usual: dict[str, Any] = {
        "at": BEGIN + number * INTERVAL,
        "clock": number * INTERVAL,
        "phase": Phase.TRAINING,
        "step": 100,
        "log_bytes": 1000,
        "activity": Activity(cpu_seconds=50.0, io_bytes=10_000, threads=8),
        "listed": Listed(own=(OWN,), here=(OWN, STRANGER)),
    }
    return Observation(**(usual | values))


def busy(number: float, *, cpu: float = 0.0, io: float = 0.0, **states: Any) -> Activity:
    """The activity up to a look of processes that use `cpu` cores and move `io` bytes per second."""
    seconds = number * INTERVAL
    return Activity(cpu_seconds=50.0 + cpu * seconds, io_bytes=10_000 + int(io * seconds), threads=8, **states)


def gpu(utilization: int | None = 0, **values: Any) -> Reading:
    """A GPU that the job's process uses."""
    usual: dict[str, Any] = {
        "index": 0,
        "uuid": "GPU-0",
        "name": "NVIDIA H200",
        "utilization": utilization,
        "processes": (OWN,),
    }
    return Reading(**(usual | values))


def trail(looks: Iterable[Observation], limits: Limits | None = None) -> Trail:
    made = begin(limits or USUAL)
    for one in looks:
        made = follow(made, one)
    return made
