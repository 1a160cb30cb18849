# SPDX-License-Identifier: Apache-2.0
"""What does not work at present, as sentences for people: the daemon goes on without it and says so."""

from fluxgymd.engine.book import Book
from fluxgymd.engine.forgotten import Forgotten
from fluxgymd.engine.scheduler import Scheduler
from fluxgymd.gpus.quarantine import Quarantine
from fluxgymd.store.machine import MachineState
from fluxgymd.tasks import LongTasks


class Degraded:
    def __init__(
        self,
        book: Book,
        scheduler: Scheduler,
        machine: MachineState,
        quarantine: Quarantine,
        forgotten: Forgotten,
        *,
        tasks: LongTasks,
    ) -> None:
        self._book = book
        self._tasks = tasks
        self._scheduler = scheduler
        self._machine = machine
        self._quarantine = quarantine
        self._forgotten = forgotten

    def reasons(self) -> list[str]:
        damaged = [entry.name for entry in self._book.open() if entry.damage is not None]
        reasons = [self._book.storage_problem, self._scheduler.problem, self._machine.problem]
        reasons += [self._scheduler.fault, *self._tasks.problems()]
        if damaged:
            reasons.append(f"Damaged jobs: {', '.join(sorted(damaged))}; `fluxgymctl status NAME` says what to do.")
        if in_doubt := self._book.settling.names:
            reasons.append(
                f"Jobs in doubt: {', '.join(in_doubt)}; the disk refused their last event and does not take it back: "
                "until it does nothing is started of them, and their GPUs stay taken."
            )
        reasons += [
            f"GPU {uuid} is put aside and given to no job: {why} "
            f"A reboot clears that, or `fluxgymctl gpus --clear {uuid}`."
            for uuid, why in self._quarantine.reasons.items()
        ]
        reasons += [*self._forgotten.reasons(), *self._book.misnamed]
        return [reason for reason in reasons if reason]
