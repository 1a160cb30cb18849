# SPDX-License-Identifier: Apache-2.0
"""Reads the files that a shim left in the folder of its attempt: shim.json, started.json, exit.json and the lock.

A record counts completely or not at all. A file that can't be decoded counts as absent, which never makes an attempt
look more finished than it is.
"""

import fcntl
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import msgspec

from fluxgym.files import Unusable, open_file, read_file
from fluxgymd.attempts import processes
from fluxgymd.core.journal.decoding import decode
from fluxgymd.core.journal.records import ExitRecord, Process, Record, Ticks

RecordT = TypeVar("RecordT", bound=Record)


class ShimRecord(Record, frozen=True, kw_only=True):
    """shim.json, which the shim writes before it waits at its gate."""

    contract: int
    pid: int
    start: Ticks
    boot_id: str
    pid_namespace: str
    locked: bool = True
    """False if the volume supports no locks. Then the reader checks for the shim's process instead."""

    @property
    def process(self) -> Process:
        return Process(pid=self.pid, start=self.start)


class StartedRecord(Record, frozen=True, kw_only=True):
    """started.json, which is written before the first instruction of the trainer runs."""

    contract: int
    pid: int
    start: Ticks
    cgroup: str | None = None
    started_at: float

    @property
    def process(self) -> Process:
        return Process(pid=self.pid, start=self.start)


@dataclass(frozen=True, kw_only=True, slots=True)
class AttemptRecords:
    """The contents of an attempt's folder."""

    shim: ShimRecord | None
    started: StartedRecord | None
    exit: ExitRecord | None
    lock_held: bool
    locks: bool
    """False if the volume supports no locks. Then nothing is known about an attempt of another boot or namespace."""
    notes: tuple[str, ...]
    """A sentence for each file that exists but could not be decoded."""


def read(path: Path) -> AttemptRecords:
    """The present contents. OSError if the volume itself fails, which says nothing about the attempt.

    The lock is probed before the records are read: a shim that exits in between has written them by then.
    """
    notes: list[str] = []
    flock_held = _flock_held(path / "lock")
    shim = _record(path / "shim.json", ShimRecord, notes)
    lock_held = flock_held or (shim is not None and not shim.locked and processes.lives(shim.process))
    return AttemptRecords(
        shim=shim,
        started=_record(path / "started.json", StartedRecord, notes),
        exit=_record(path / "exit.json", ExitRecord, notes),
        lock_held=lock_held,
        locks=shim is None or shim.locked,
        notes=tuple(notes),
    )


def started(path: Path) -> Process | None:
    """The trainer's process according to started.json; None if there is no such record."""
    record = _record(path / "started.json", StartedRecord, [])
    return None if record is None else record.process


def _record(path: Path, kind: type[RecordT], notes: list[str]) -> RecordT | None:
    try:
        return decode(read_file(path), kind)
    except FileNotFoundError:
        return None
    except (msgspec.MsgspecError, Unusable) as error:
        notes.append(f"{path} is damaged and is treated as missing: {error}.")
        return None


def _flock_held(path: Path) -> bool:
    """Whether a process holds the lock. This takes the lock if it is free, and releases it at once."""
    try:
        lock = open_file(path, os.O_RDWR)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False  # the volume supports no locks, which shim.json says too
    finally:
        os.close(lock)
    return False
