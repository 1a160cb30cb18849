# SPDX-License-Identifier: Apache-2.0
"""Determines which program causes the utilisation of a GPU. Pure.

Utilisation belongs to the device: a game, a desktop or another job causes it just as this job does. So it is a sign
of life only while one of the job's processes is in NVML's list of the GPU's compute processes. Depending on the
driver, the list has the pids of the host's namespace or of the caller's. There are three cases:

* A listed pid is the job's: the load may be the job's.
* A listed pid names no process in the daemon's pid namespace: the list is from another namespace, as in most pods,
  and doesn't say whether the job is on the GPU. In a list from the daemon's own namespace, every pid names a process.
  The load then counts as a sign of life, so that no healthy job is taken for a dead one (movement.py).
* All listed pids name other processes, or none is listed: the job isn't on this GPU. If it were, its process would be
  listed under its pid in one namespace or the other, so an empty list is certain in a pod too.
"""

from enum import Enum, auto

from fluxgymd.core.gpu import Reading
from fluxgymd.core.watchdog.observation import Listed


class Owner(Enum):
    JOB = auto()
    OTHERS = auto()
    UNTOLD = auto()
    """Can't be determined on this machine: the driver lists no processes, or those of another pid namespace."""
    UNKNOWN = auto()
    """Can't be determined at this look: the job's own processes could not be listed."""


def owner(gpu: Reading, listed: Listed | None) -> Owner:
    """The owner of the load on a busy GPU."""
    if gpu.processes is None:
        return Owner.UNTOLD
    if not gpu.processes:
        return Owner.OTHERS
    if listed is None:
        return Owner.UNKNOWN
    if not set(listed.own).isdisjoint(gpu.processes):
        return Owner.JOB
    return Owner.OTHERS if set(listed.here).issuperset(gpu.processes) else Owner.UNTOLD
