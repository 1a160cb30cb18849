# SPDX-License-Identifier: Apache-2.0
"""Ensures that one daemon owns a home (docs/decisions/0042-one-owner.md).

On one machine a lock decides, which the kernel drops however its owner ends. A network volume may not support locks,
so the owner also writes a record of who and where it is and renews it, and a daemon does not take a home whose owner
may still be alive. An owner whose record was replaced, or disappeared where there are no locks, has lost the home: it
neither renews nor releases it. The record of a predecessor that was found dead is ignored, however long it stays
there because of a full disk.
"""

import errno
import fcntl
import logging
import os
import secrets
import time
from contextlib import suppress
from pathlib import Path

import msgspec

from fluxgym.errors import FluxgymError
from fluxgym.files import open_file, read_file
from fluxgymd.attempts import processes
from fluxgymd.core.journal.decoding import decode
from fluxgymd.core.journal.records import Place, Process, Record, Ticks
from fluxgymd.failpoints import failpoint
from fluxgymd.store.atomic import write_file
from fluxgymd.store.home import OWNER

log = logging.getLogger(__name__)

RENEW_SECONDS = 20
EXPIRY_SECONDS = 120
"""The owner of an older record from another machine counts as gone."""
DOUBT_SECONDS = 60
"""An owner that has not renewed its record for this long starts nothing, well before others may take its home."""
SETTLE_SECONDS = 3.0
"""Longer than another daemon takes from reading the record to writing its own: see `_settle`."""

NO_LOCKS = frozenset((errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOLCK, errno.ENOSYS))
"""The errors of flock(2) on a volume that does not support locks."""

IN_DOUBT = (
    "The record of who owns the home, owner.json, could not be renewed for a while, so another daemon may take the "
    "home: nothing is started until it is renewed."
)


LOST = (
    "This daemon has lost the home: it no longer starts or writes anything there, and what it shows may be out of "
    "date; restart it once no other daemon owns the home."
)


class HomeTaken(FluxgymError):
    """Another daemon owns the home."""

    exit_status = 4


class OwnerRecord(Record, frozen=True, kw_only=True):
    """owner.json."""

    pid: int
    start: Ticks = Ticks(0)
    """Start time of the process; 0 in a record from a version that did not write it."""
    socket: str
    place: Place
    instance: str = ""
    """Random; identifies one owner."""
    renewed_at: float


class Ownership:
    """The ownership of a home. It lasts from `take` until `release`, the end of the process, or a loss that `renew`
    detects."""

    def __init__(self, home: Path, place: Place, socket: Path, *, settle_seconds: float = SETTLE_SECONDS) -> None:
        own = processes.stat(os.getpid())
        self._home = home
        self._path = home / OWNER
        self._me = OwnerRecord(
            pid=os.getpid(),
            start=Ticks(0) if own is None else own.process.start,
            socket=str(socket),
            place=place,
            instance=secrets.token_hex(16),
            renewed_at=0.0,
        )
        self._settle_seconds = settle_seconds
        self._lock: int | None = None
        """The descriptor; None if the volume does not support locks or the home is not held."""
        self._held = False
        self._written = False
        self._predecessor: OwnerRecord | None = None
        """The record that existed when the home was taken. Its owner is gone."""
        self._renewed = 0.0
        """CLOCK_BOOTTIME: this clock also runs while the machine sleeps, as other machines do."""
        self._loss: str | None = None

    def take(self) -> None:
        """Takes the home. Raises HomeTaken, which names the owner, if another daemon has it or may have it, and
        OSError if the record cannot be written and there is no lock. Blocks, without locks for `settle_seconds`."""
        lock = self._lock_home()
        try:
            other = self._read()
            if other is not None and self._may_live(other, locked=lock is not None):
                raise self._taken(other)
            self._predecessor = other
            failpoint("owner.locked")
            self._begin(locked=lock is not None)
        except BaseException:
            if lock is not None:
                os.close(lock)
            raise
        self._lock, self._held = lock, True

    def renew(self) -> None:
        """Renews the record. Raises HomeTaken if another daemon has taken the home; then this daemon must not write
        to it any more. Raises OSError if the disk refuses. Blocks."""
        try:
            other = self._read()
            gone = other is None and self._written and self._lock is None  # another daemon came, and has left again
            if gone or not (other is None or other.instance == self._me.instance or other == self._predecessor):
                raise self._taken(other)
            late = self._in_doubt()
            self._write()
            if late:
                self._settle()
        except HomeTaken as loss:
            self._loss = f"{loss.message} {LOST}"
            raise
        self._renewed = _now()

    def problem(self) -> str | None:
        """Why nothing may be started in this home; None if this daemon certainly owns it."""
        return self._loss or (IN_DOUBT if self._in_doubt() else None)

    def release(self) -> None:
        if not self._held:
            return
        with suppress(OSError):  # then the record stays
            record = self._read()
            if record is not None and record.instance == self._me.instance:
                self._path.unlink(missing_ok=True)
        failpoint("owner.released")
        if self._lock is not None:
            os.close(self._lock)
        self._lock, self._held = None, False

    def _lock_home(self) -> int | None:
        """The descriptor of the lock; None if the volume does not support locks. Raises HomeTaken if another process
        holds the lock."""
        descriptor = open_file(self._home / ".lock", os.O_RDWR | os.O_CREAT)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(descriptor)
            if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
                raise self._taken(self._read()) from None
            if error.errno not in NO_LOCKS:
                raise
            return None
        return descriptor

    def _begin(self, *, locked: bool) -> None:
        try:
            self._write()
            if not locked:
                self._settle()
        except OSError as error:
            if not locked:
                raise
            # On this machine the lock is enough. If a daemon could not start on a full disk, it would not come back
            # automatically once there is room again.
            log.warning("owner.json could not be written: %s", error)
        self._renewed = _now()

    def _settle(self) -> None:
        """Decides between two daemons that take the home at the same moment: the later record stands, and the other
        daemon finds it here and raises HomeTaken.

        Fischer's algorithm (Lamport, A Fast Mutual Exclusion Algorithm, 1987) needs no lock: write, wait for longer
        than any daemon takes from reading the record to writing its own, and read again.
        """
        time.sleep(self._settle_seconds)
        other = self._read()
        if other is None or other.instance != self._me.instance:
            raise self._taken(other)

    def _write(self) -> None:
        record = msgspec.structs.replace(self._me, renewed_at=time.time())
        write_file(self._path, msgspec.json.encode(record) + b"\n")
        self._written = True

    def _read(self) -> OwnerRecord | None:
        """The record; None if it is missing or does not decode, since a torn record keeps nobody out. Raises OSError
        if the volume cannot read it."""
        try:
            return decode(read_file(self._path), OwnerRecord)
        except (FileNotFoundError, msgspec.MsgspecError):
            return None

    def _may_live(self, other: OwnerRecord, *, locked: bool) -> bool:
        """Whether the owner of this record may still be alive. `locked`: this daemon holds the home's lock."""
        here = self._me.place
        if self._is_seen(other):
            return other.pid != os.getpid() and not self._is_dead(other)
        # Many images have no machine-id. Then another boot may be another machine, whose lock is not visible here.
        same_boot = other.place.boot_id == here.boot_id
        same_machine = other.place.machine_id == here.machine_id and (bool(here.machine_id) or same_boot)
        if locked and same_machine:
            return False  # its owner would hold the lock
        return self._age(other) < EXPIRY_SECONDS

    def _is_seen(self, other: OwnerRecord) -> bool:
        """Whether the record's process, if it lives, is visible from here."""
        return other.place == self._me.place and bool(other.start)

    def _is_dead(self, other: OwnerRecord) -> bool:
        """Whether the record's process has certainly ended."""
        return self._is_seen(other) and not processes.lives(Process(pid=other.pid, start=other.start))

    def _age(self, other: OwnerRecord) -> float:
        """Seconds since the record was renewed, by the clock that makes it younger: this machine's, which may be
        ahead of the owner's, or the volume's, from its files' modification times."""
        age = time.time() - other.renewed_at
        with suppress(FileNotFoundError):
            written = self._path.stat().st_mtime
            os.utime(self._home / ".lock")
            age = min(age, (self._home / ".lock").stat().st_mtime - written)
        return age

    def _in_doubt(self) -> bool:
        return _now() - self._renewed > DOUBT_SECONDS

    def _taken(self, owner: OwnerRecord | None) -> HomeTaken:
        advice = "stop it first, or choose another --home"
        if owner is None or self._is_dead(owner):  # then the daemon that holds the lock could not write its record
            return HomeTaken(f"The home {self._home} is owned by another fluxgymd; {advice}.")
        who = f"the fluxgymd with pid {owner.pid} and socket {owner.socket}"
        if owner.place != self._me.place:
            who += f" on another machine or in another container (its machine-id: {owner.place.machine_id or 'none'})"
            advice += (
                f"; if it is gone for good, this one can take the home {EXPIRY_SECONDS} s after its last sign of life"
            )
        return HomeTaken(f"The home {self._home} is owned by {who}; {advice}.")


def _now() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME)
