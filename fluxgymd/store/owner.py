# SPDX-License-Identifier: Apache-2.0
"""One daemon owns one home.

On one machine a lock says so: the kernel drops it whatever happens to its owner. A network volume may carry no locks,
so the owner also writes who and where it is, renews that, and takes no home that somebody else renewed lately.
"""

import errno
import fcntl
import logging
import os
import time
from pathlib import Path

import msgspec

from fluxgym.errors import FluxgymError
from fluxgymd.core.decoding import decode
from fluxgymd.core.records import Place, Record
from fluxgymd.failpoints import failpoint
from fluxgymd.store.atomic import write_file

log = logging.getLogger(__name__)

RENEW_SECONDS = 20
EXPIRY_SECONDS = 120
"""A record older than this was left by an owner that is gone."""


class HomeTaken(FluxgymError):
    """Another daemon owns the home."""

    exit_status = 4


class OwnerRecord(Record, frozen=True, kw_only=True):
    """owner.json."""

    pid: int
    socket: str
    place: Place
    renewed_at: float


class Ownership:
    """Held from `take` until `release` or the end of the process."""

    def __init__(self, home: Path, place: Place, socket: Path) -> None:
        self._home = home
        self._place = place
        self._socket = socket
        self._record = home / "owner.json"
        self._lock: int | None = None

    def take(self) -> None:
        """HomeTaken, and by whom, if it is not to be had."""
        descriptor = os.open(self._home / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(descriptor)
            if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
                raise self._taken(self._read()) from None
            if error.errno not in (errno.ENOTSUP, errno.ENOLCK, errno.ENOSYS):
                raise
            descriptor = -1  # this volume has no locks: the record alone must do
        other = self._read()
        if other is not None and self._may_be_elsewhere(other.place) and self._fresh(other):
            if descriptor >= 0:
                os.close(descriptor)
            raise self._taken(other)
        failpoint("owner.locked")
        self._lock = descriptor
        try:
            self.renew()
        except OSError as error:
            if descriptor < 0:
                raise
            # The lock says enough on this machine. A daemon that cannot start on a full disk cannot come back by
            # itself either when there is room again.
            log.warning("owner.json could not be written: %s", error)

    def renew(self) -> None:
        """Says that this daemon is still there. OSError if the disk refuses."""
        record = OwnerRecord(pid=os.getpid(), socket=str(self._socket), place=self._place, renewed_at=time.time())
        write_file(self._record, msgspec.json.encode(record) + b"\n")

    def release(self) -> None:
        if self._lock is None:
            return
        self._record.unlink(missing_ok=True)
        failpoint("owner.released")
        if self._lock >= 0:
            os.close(self._lock)
        self._lock = None

    def _read(self) -> OwnerRecord | None:
        try:
            return decode(self._record.read_bytes(), OwnerRecord)
        except (OSError, msgspec.MsgspecError):
            return None

    def _may_be_elsewhere(self, other: Place) -> bool:
        """Images often carry no machine-id: then another boot may be another machine, whose lock is not seen here."""
        mine = self._place
        return other.machine_id != mine.machine_id or (not mine.machine_id and other.boot_id != mine.boot_id)

    @staticmethod
    def _fresh(record: OwnerRecord) -> bool:
        return time.time() - record.renewed_at < EXPIRY_SECONDS

    def _taken(self, owner: OwnerRecord | None) -> HomeTaken:
        who = f"the fluxgymd with pid {owner.pid} and socket {owner.socket}" if owner else "another fluxgymd"
        return HomeTaken(f"The home {self._home} is owned by {who}; stop it first, or give this one another --home.")
