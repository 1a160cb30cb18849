# SPDX-License-Identifier: Apache-2.0
"""Quarantines GPUs: if in doubt, a GPU is not used again (promise 4).

A GPU is quarantined if it fell off the bus, if its driver reported an error that requires a reset, or if SIGKILL did
not end an attempt that ran on it. The quarantine lasts until a reboot, or until a user clears it. It is recorded for
the machine (store/machine.py); if the record cannot be written, this daemon still remembers the quarantine.
"""

import asyncio
import logging
import time

from fluxgymd.core.job import Attempt
from fluxgymd.core.watchdog import faults
from fluxgymd.gpus.machine import Gpus
from fluxgymd.store.machine import MachineState

log = logging.getLogger(__name__)


class Quarantine:
    def __init__(self, machine: MachineState, gpus: Gpus) -> None:
        self._machine = machine
        self._gpus = gpus
        self._xids: faults.XidCounts = {}
        self._lost: frozenset[str] = frozenset()
        self._unwritten: dict[str, str] = {}

    @property
    def reasons(self) -> dict[str, str]:
        """Why each quarantined GPU is quarantined, by UUID."""
        return self._unwritten | {uuid: one.why for uuid, one in self._machine.quarantine.items()}

    async def look(self) -> frozenset[str]:
        """Examines NVML's last answer, quarantines GPUs that have a new fault, and returns all GPUs that no job may
        get. Writes to the disk only if there is a new fault."""
        lost = frozenset(self._gpus.lost)
        found: dict[str, str] = {}
        for reading in self._gpus.of(self._gpus.uuids) or ():
            self._xids, new = faults.new_xids(self._xids, (reading,))
            newly_lost = reading.lost and reading.uuid not in self._lost
            why = faults.fatal((reading,), new) if newly_lost or not reading.lost else None
            if why is not None:
                found[reading.uuid] = f"{why[0].upper()}{why[1:]}."
        self._lost = lost
        for uuid, why in found.items():
            await self._put_aside(uuid, why)
        return lost | self.reasons.keys()

    async def unkillable(self, job: str, attempt: Attempt) -> None:
        """Quarantines the GPUs of an attempt that SIGKILL did not end. The attempt keeps its lease anyway; the
        quarantine outlasts it."""
        why = f"Attempt {attempt.number} of the job {job} ran on it, and its processes cannot be killed."
        for uuid in attempt.gpus:
            await self._put_aside(uuid, why, job=job)

    async def clear(self, uuid: str) -> None:
        """Ends a GPU's quarantine. If the record cannot be written, raises OSError, and the GPU stays quarantined."""
        await asyncio.to_thread(self._machine.clear, uuid)
        self._unwritten.pop(uuid, None)
        log.info("GPU %s is no longer quarantined", uuid)

    async def _put_aside(self, uuid: str, why: str, *, job: str | None = None) -> None:
        if uuid in self.reasons:
            return
        log.error("GPU %s is quarantined and not used by any job: %s", uuid, why)
        self._unwritten[uuid] = why
        try:
            await asyncio.to_thread(self._machine.put_aside, uuid, why=why, since=time.time(), job=job)
            del self._unwritten[uuid]
        except OSError as error:
            log.error("the quarantine of GPU %s could not be recorded: %s", uuid, error)
