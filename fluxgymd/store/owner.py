# SPDX-License-Identifier: Apache-2.0
"""One daemon owns one home.

On one machine a lock says so: the kernel drops it whatever happens to its owner. A network volume may carry no locks,
so the owner also writes who and where it is, renews that, and takes no home whose owner may still be there. An owner
whose record was replaced, or whom others may hold for gone, owns nothing any more: it neither renews nor releases.
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
from fluxgymd.attempts import processes
from fluxgymd.core.decoding import decode
from fluxgymd.core.records import Place, Process, Record, Ticks
from fluxgymd.failpoints import failpoint
from fluxgymd.store.atomic import write_file
from fluxgymd.store.home import OWNER

log = logging.getLogger(__name__)

RENEW_SECONDS = 20
EXPIRY_SECONDS = 120
"""A record of another machine that is older than this was left by an owner that is gone."""
DOUBT_SECONDS = 60
"""Without a renewal for so long the owner starts nothing: it stops well before others may take its home."""
SETTLE_SECONDS = 3.0
"""Longer than another daemon takes from its look at the record to its own record: see `_settle`."""

NO_LOCKS = frozenset((errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOLCK, errno.ENOSYS))
"""What flock(2) says on a volume without locks."""

IN_DOUBT = (
    "The record of who owns the home, owner.json, could not be renewed for a while, so another daemon may take the "
    "home: nothing is started until it is renewed."
)


LOST = (
    "This daemon has lost the home: it starts nothing and writes nothing there any more, and what it shows may be "
    "old; restart it when it may have the home again."
)


class HomeTaken(FluxgymError):
    """Another daemon owns the home."""

    exit_status = 4


class OwnerRecord(Record, frozen=True, kw_only=True):
    """owner.json."""

    pid: int
    start: Ticks = Ticks(0)
    """Start time of the process; 0 in a record of a version that did not tell it."""
    socket: str
    place: Place
    instance: str = ""
    """Random: tells one owner from any other."""
    renewed_at: float


class Ownership:
    """Held from `take` until `release`, the end of the process, or the loss that `renew` finds out."""

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
        """None where the volume carries no locks, or the home is not held."""
        self._held = False
        self._written = False
        self._renewed = 0.0
        """CLOCK_BOOTTIME: it goes on while the machine sleeps, as other machines do."""
        self._loss: str | None = None

    def take(self) -> None:
        """HomeTaken, and by whom, if it is not to be had. OSError if the record cannot be written and there is no
        lock. Blocks, for a moment where there are no locks."""
        lock = self._lock_home()
        try:
            other = self._read()
            if other is not None and self._may_live(other, locked=lock is not None):
                raise self._taken(other)
            failpoint("owner.locked")
            self._begin(locked=lock is not None)
        except BaseException:
            if lock is not None:
                os.close(lock)
            raise
        self._lock, self._held = lock, True

    def renew(self) -> None:
        """Says that this daemon is still there. HomeTaken if the home is another's by now: nothing was written, and
        nothing may be written into it any more. OSError if the disk refuses. Blocks."""
        try:
            other = self._read()
            gone = other is None and self._written and self._lock is None  # another came, and has left again
            if gone or (other is not None and other.instance != self._me.instance):
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
        """Why nothing may be started in this home; None if it is surely this daemon's."""
        return self._loss or (IN_DOUBT if self._in_doubt() else None)

    def release(self) -> None:
        if not self._held:
            return
        with suppress(OSError):  # then it is left, and says where this daemon was
            record = self._read()
            if record is not None and record.instance == self._me.instance:
                self._path.unlink(missing_ok=True)
        failpoint("owner.released")
        if self._lock is not None:
            os.close(self._lock)
        self._lock, self._held = None, False

    def _lock_home(self) -> int | None:
        """None where the volume carries no locks. HomeTaken if another process holds the lock."""
        descriptor = os.open(self._home / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
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
            # The lock says enough on this machine. A daemon that cannot start on a full disk cannot come back by
            # itself either when there is room again.
            log.warning("owner.json could not be written: %s", error)
        self._renewed = _now()

    def _settle(self) -> None:
        """Of two that took the home in one moment, the record of the later one stands; the other finds it here.

        Fischer's algorithm (Lamport, A Fast Mutual Exclusion Algorithm, 1987): write, wait for longer than anybody
        takes from the look to the record, look again. No lock is needed.
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
        """None if there is none, or none that can be read: a torn record keeps nobody out. OSError if the volume
        does not tell."""
        try:
            return decode(self._path.read_bytes(), OwnerRecord)
        except (FileNotFoundError, msgspec.MsgspecError):
            return None

    def _may_live(self, other: OwnerRecord, *, locked: bool) -> bool:
        """Whether the owner of this record may still be there. `locked`: this daemon holds the home's lock."""
        here = self._me.place
        if other.place == here and other.start:
            owner = Process(pid=other.pid, start=other.start)
            return owner.pid != os.getpid() and processes.lives(owner)
        # Images often carry no machine-id: then another boot may be another machine, whose lock is not seen here.
        same_boot = other.place.boot_id == here.boot_id
        same_machine = other.place.machine_id == here.machine_id and (bool(here.machine_id) or same_boot)
        if locked and same_machine:
            return False  # or its lock would be held
        return self._age(other) < EXPIRY_SECONDS

    def _age(self, other: OwnerRecord) -> float:
        """Seconds since the record was renewed, by the clock that makes it younger: that of this machine, which may
        be ahead of the owner's, or that of the volume, which stamps its files."""
        age = time.time() - other.renewed_at
        with suppress(FileNotFoundError):
            written = self._path.stat().st_mtime
            os.utime(self._home / ".lock")
            age = min(age, (self._home / ".lock").stat().st_mtime - written)
        return age

    def _in_doubt(self) -> bool:
        return _now() - self._renewed > DOUBT_SECONDS

    def _taken(self, owner: OwnerRecord | None) -> HomeTaken:
        advice = "stop it first, or give this one another --home"
        if owner is None:
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
