# SPDX-License-Identifier: Apache-2.0
"""Says in sentences what does not work at present; the daemon continues without it."""

from fluxgym.protocol.messages import State
from fluxgymd.background.tasks import LongTasks
from fluxgymd.gpus.quarantine import Quarantine
from fluxgymd.jobs.registry import Registry
from fluxgymd.run.disk_room import DiskRoom
from fluxgymd.run.forgotten import Forgotten
from fluxgymd.run.scheduler import Scheduler
from fluxgymd.store.machine import MachineState


class Degraded:
    def __init__(
        self,
        registry: Registry,
        scheduler: Scheduler,
        machine: MachineState,
        quarantine: Quarantine,
        forgotten: Forgotten,
        *,
        room: DiskRoom,
        tasks: LongTasks,
    ) -> None:
        self._room = room
        self._registry = registry
        self._tasks = tasks
        self._scheduler = scheduler
        self._machine = machine
        self._quarantine = quarantine
        self._forgotten = forgotten

    def reasons(self) -> list[str]:
        damaged = [entry.name for entry in self._registry.open() if entry.damage is not None]
        reasons = [
            self._registry.storage_problem or self._room.problem,
            self._scheduler.problem,
            self._machine.problem,
        ]
        reasons += [self._scheduler.fault, *self._tasks.problems()]
        if damaged:
            reasons.append(f"Damaged jobs: {', '.join(sorted(damaged))}; `fluxgymctl status NAME` says what to do.")
        if lost := [entry.name for entry in self._registry.open() if entry.state is State.LOST]:
            reasons.append(
                f"Lost jobs: {', '.join(sorted(lost))}; their GPUs stay reserved, and `fluxgymctl status NAME` says "
                "what to do."
            )
        if in_doubt := self._registry.doubtful.names:
            reasons.append(
                f"Jobs in doubt: {', '.join(in_doubt)}; the disk refused their last event and does not let FluxGym "
                "undo it. Until it does, these jobs are not started and their GPUs stay reserved."
            )
        reasons += [
            f"GPU {uuid} is quarantined and not used by any job: {why} "
            f"A reboot or `fluxgymctl gpus --clear {uuid}` ends the quarantine."
            for uuid, why in self._quarantine.reasons.items()
        ]
        reasons += [entry.now.log_problem for entry in self._registry.open()]
        faults = {entry.name: entry.now.faults.sentence for entry in self._registry.open()}
        reasons += [f"The job {name}: {sentence}" for name, sentence in faults.items() if sentence is not None]
        reasons += [*self._forgotten.reasons(), *self._registry.misnamed]
        return [reason for reason in reasons if reason]
