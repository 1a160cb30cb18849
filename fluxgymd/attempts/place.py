# SPDX-License-Identifier: Apache-2.0
"""Where this daemon runs, and whether an attempt that was started somewhere can still be seen from here.

In doubt an attempt is elsewhere: it is then lost, and its GPU kept, but it is never started a second time.
"""

import os
from pathlib import Path

from fluxgymd.attempts import processes
from fluxgymd.core.evidence import Where
from fluxgymd.core.records import Place, Ticks


def here() -> Place:
    """The place of this process."""
    init = processes.stat(1)  # hidden from others where /proc is mounted with hidepid=2
    return Place(
        machine_id=_text("/etc/machine-id"),
        boot_id=_text("/proc/sys/kernel/random/boot_id"),
        pid_namespace=os.readlink("/proc/self/ns/pid"),
        init_start=Ticks(0) if init is None else init.process.start,
    )


def where(recorded: Place, now: Place, *, lock_held: bool) -> Where:
    """Where an attempt ran, seen from `now`. `lock_held`: its lock, which may be seen through a shared volume; true
    also where it cannot be seen, as the volume carries none.

    Images often carry no machine-id, or all the same one. Then another boot id may be another machine, whose
    processes still run: only a lock that could be seen and is free tells that from a reboot.
    """
    if recorded == now:
        return Where.HERE
    same_boot = recorded.boot_id == now.boot_id
    same_machine = recorded.machine_id == now.machine_id and (bool(now.machine_id) or same_boot)
    if not same_machine or lock_held:
        return Where.ELSEWHERE
    return Where.OTHER_BOOT


def _text(path: str) -> str:
    """Empty where there is no such file."""
    try:
        return Path(path).read_text().strip()
    except OSError:
        return ""
