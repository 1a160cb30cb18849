# SPDX-License-Identifier: Apache-2.0
"""What a shim left in the folder of its attempt: shim.json, started.json, exit.json and the lock.

A file counts whole or not at all. One that cannot be read as its record is as good as absent, which never makes an
attempt look more finished than it is.
"""

import fcntl
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import msgspec

from fluxgymd.attempts import processes
from fluxgymd.core.decoding import decode
from fluxgymd.core.records import ExitRecord, Process, Record, Ticks

RecordT = TypeVar("RecordT", bound=Record)


class ShimRecord(Record, frozen=True, kw_only=True):
    """shim.json: written before the gate is waited for."""

    contract: int
    pid: int
    start: Ticks
    boot_id: str
    pid_namespace: str
    locked: bool = True
    """False where the volume carries no locks: then the process itself is looked for."""

    @property
    def process(self) -> Process:
        return Process(pid=self.pid, start=self.start)


class StartedRecord(Record, frozen=True, kw_only=True):
    """started.json: written before the first instruction of the trainer."""

    contract: int
    pid: int
    start: Ticks
    cgroup: str | None = None
    started_at: float

    @property
    def process(self) -> Process:
        return Process(pid=self.pid, start=self.start)


@dataclass(frozen=True, kw_only=True, slots=True)
class Found:
    """What was read."""

    shim: ShimRecord | None
    started: StartedRecord | None
    exit: ExitRecord | None
    lock_held: bool
    locks: bool
    """False where the volume carries no locks: nothing can be told of an attempt of another boot or namespace."""
    notes: tuple[str, ...]
    """One sentence for each file that is there and could not be read as its record."""


def read(path: Path) -> Found:
    """The facts of now. OSError if the volume itself fails, which says nothing about the attempt.

    The lock is probed before the records are read: a shim that leaves in between has written them by then.
    """
    notes: list[str] = []
    flock_held = _flock_held(path / "lock")
    shim = _record(path / "shim.json", ShimRecord, notes)
    lock_held = flock_held or (shim is not None and not shim.locked and processes.lives(shim.process))
    return Found(
        shim=shim,
        started=_record(path / "started.json", StartedRecord, notes),
        exit=_record(path / "exit.json", ExitRecord, notes),
        lock_held=lock_held,
        locks=shim is None or shim.locked,
        notes=tuple(notes),
    )


def started(path: Path) -> Process | None:
    """The trainer's process, once it was started."""
    record = _record(path / "started.json", StartedRecord, [])
    return None if record is None else record.process


def _record(path: Path, kind: type[RecordT], notes: list[str]) -> RecordT | None:
    try:
        return decode(path.read_bytes(), kind)
    except FileNotFoundError:
        return None
    except msgspec.MsgspecError as error:
        notes.append(f"{path} is damaged and counts as absent: {error}.")
        return None


def _flock_held(path: Path) -> bool:
    """Whether somebody holds the lock; it is given back at once."""
    try:
        lock = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False  # no locks on this volume: shim.json says so
    finally:
        os.close(lock)
    return False
