# SPDX-License-Identifier: Apache-2.0
"""One look at an attempt, shared by all adapters: the shim's files and process, the trainer's process, and what else
of the attempt is left. Blocks on files and /proc.

The trainer is checked before the rest. If it ends in between, the processes that it leaves behind are still found.
"""

import signal
from collections.abc import Callable
from dataclasses import dataclass

from fluxgymd.attempts import place, processes, records_on_disk
from fluxgymd.attempts.members import Members
from fluxgymd.attempts.port import AttemptRef
from fluxgymd.core.evidence import Evidence, TrainerProcess, Where
from fluxgymd.core.journal.records import Process

RANK = "RANK"
"""The environment variable in which a launcher numbers the processes of a training, from 0."""


@dataclass(frozen=True, kw_only=True, slots=True)
class OtherProcesses:
    """What exists of an attempt apart from its shim."""

    populated: bool | None
    """Whether processes of the attempt exist; None if that can't be determined."""
    doubtful: tuple[Process, ...] = ()


def look(ref: AttemptRef, *, owns: Callable[[int], bool], left: Callable[[], OtherProcesses]) -> Evidence:
    """The evidence about the attempt at this moment. OSError if the volume fails.

    `owns`: whether the process with this pid is provably the attempt's; `left`: finds the rest of the attempt, and is
    called only if the attempt ran here.
    """
    # The shim's process, like its lock, is checked before the records are read: a shim that exits in between has
    # written them by then.
    shim_lives = ref.shim is not None and processes.lives(ref.shim)
    found = records_on_disk.read(ref.folder)
    where = place.where(ref.place, place.here(), lock_held=found.lock_held or not found.locks)
    here = where is Where.HERE
    trainer = ref.trainer or (found.started.process if found.started is not None else None)
    fate = _fate(trainer, owns) if here else TrainerProcess.UNKNOWN
    rest = left() if here else OtherProcesses(populated=None)
    return Evidence(
        where=where,
        shim_known=found.shim is not None,
        started=trainer is not None,
        exit=found.exit,
        supervised=found.lock_held or (here and shim_lives),
        trainer=fate,
        populated=rest.populated,
        doubtful=tuple(process.pid for process in rest.doubtful),
    )


def _fate(trainer: Process | None, owns: Callable[[int], bool]) -> TrainerProcess:
    if trainer is None:
        return TrainerProcess.UNKNOWN
    if processes.has_ended(trainer):
        return TrainerProcess.ENDED
    return TrainerProcess.LIVES if processes.about(trainer, owns) else TrainerProcess.UNKNOWN


def is_here(ref: AttemptRef) -> bool:
    """Whether the attempt runs in this boot and pid namespace, so that its recorded pids mean something."""
    return place.where(ref.place, place.here(), lock_held=False) is Where.HERE


def trainer_of(ref: AttemptRef) -> Process | None:
    """The trainer's own process: as recorded in the journal, whatever happened to the file since, else as in
    started.json."""
    return ref.trainer or records_on_disk.started(ref.folder)


def first_process(ref: AttemptRef, members: Members, *, launched: bool) -> Process | None:
    """The process that does the training, the first one if there are several: the trainer's own or, if that is a
    launcher (`launched`), its child with RANK=0. None if it is not among the verified `members`."""
    trainer = trainer_of(ref)
    if trainer is None or trainer not in members.proved:
        return None
    if not launched:
        return trainer
    # Its own children, such as a compiler's processes, inherit the variable; only their parent distinguishes them.
    found = [
        process
        for process in members.proved
        if processes.about(process, lambda pid: _is_child(pid, trainer) and processes.variable(pid, RANK) == "0")
    ]
    return found[0] if len(found) == 1 else None


def _is_child(pid: int, parent: Process) -> bool:
    now = processes.stat(pid)
    return now is not None and now.parent == parent.pid


def signal_trainer(ref: AttemptRef, members: Members, number: signal.Signals) -> bool:
    """Signals the trainer's own process if it is one of the proved `members`. False if it isn't, or has ended."""
    trainer = trainer_of(ref)
    return trainer is not None and trainer in members.proved and processes.send(trainer, number)


def request(ref: AttemptRef, members: Members, number: signal.Signals, *, launched: bool) -> bool:
    """Signals the process that does the training. False if no such process runs, or if it has no handler for the
    signal."""
    process = first_process(ref, members, launched=launched)
    return process is not None and processes.send(process, number, only_if_caught=True)


def handles(ref: AttemptRef, members: Members, number: signal.Signals, *, launched: bool) -> bool:
    """Whether `request` would send the signal."""
    process = first_process(ref, members, launched=launched)
    return process is not None and processes.catches(process, number)
