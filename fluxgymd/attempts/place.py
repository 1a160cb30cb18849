# SPDX-License-Identifier: Apache-2.0
"""Determines where this daemon runs, and whether an attempt that was started somewhere can be seen from here.

In case of doubt, an attempt counts as elsewhere: then its job is lost and keeps its GPU, but is never started twice.
"""

import os
from pathlib import Path

from fluxgymd.attempts import processes
from fluxgymd.core.evidence import Where
from fluxgymd.core.journal.records import Place, Ticks


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
    """Where an attempt that ran at `recorded` is, as seen from `now`.

    `lock_held`: whether the attempt's lock is held, perhaps by another machine that shares the volume; true also
    where the volume supports no locks. Container images often have no machine-id, or all have the same one. Then a
    different boot id may mean another machine, whose processes still run. Only a free lock tells a reboot from that.
    """
    if recorded == now:
        return Where.HERE
    same_boot = recorded.boot_id == now.boot_id
    same_machine = recorded.machine_id == now.machine_id and (bool(now.machine_id) or same_boot)
    if not same_machine or lock_held:
        return Where.ELSEWHERE
    return Where.OTHER_BOOT


def _text(path: str) -> str:
    """The contents of a file; empty if it can't be read."""
    try:
        return Path(path).read_text().strip()
    except OSError:
        return ""
