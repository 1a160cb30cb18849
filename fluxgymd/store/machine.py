# SPDX-License-Identifier: Apache-2.0
"""What is true of this machine and not of a job: whether its queue is paused, and which of its GPUs are put aside. On
local disk, keyed by machine-id, so that a home that moves to another machine does not take it along (DESIGN: Where
things lie).

A record that cannot be read is a pause: in doubt nothing is started. It is kept beside the one that replaces it
(promise 8).
"""

import os
import threading
from collections.abc import Callable
from pathlib import Path

import msgspec

from fluxgymd.core.decoding import decode
from fluxgymd.core.records import Record
from fluxgymd.failpoints import failpoint
from fluxgymd.store.atomic import write_file


class Quarantined(Record, frozen=True, kw_only=True):
    """A GPU that is given to no job."""

    uuid: str
    why: str
    """One sentence."""
    since: float
    """Wall clock."""
    boot_id: str
    """A reboot resets a GPU, and ends what hung on it."""
    job: str | None = None
    """The job that it happened to."""


class MachineRecord(Record, frozen=True, kw_only=True):
    """MACHINE-ID.json."""

    queue_paused: bool = False
    quarantine: tuple[Quarantined, ...] = ()


class MachineState:
    """Read once; each change is durable when the call returns."""

    def __init__(self, folder: Path, machine_id: str, boot_id: str = "") -> None:
        self._boot_id = boot_id
        self._writing = threading.Lock()
        self._path = folder / f"{machine_id or 'unknown'}.json"
        self.problem: str | None = None
        """Why the record could not be read, and what to do about it."""
        self._record = self._read()

    @property
    def paused(self) -> bool:
        return self._record.queue_paused

    @property
    def quarantine(self) -> dict[str, Quarantined]:
        """The GPUs that were put aside in this boot, by UUID."""
        return {one.uuid: one for one in self._record.quarantine if one.boot_id == self._boot_id}

    def pause(self, *, paused: bool) -> None:
        """OSError if the disk refuses; then nothing has changed. Blocks."""
        self._change(lambda before: msgspec.structs.replace(before, queue_paused=paused))

    def put_aside(self, uuid: str, *, why: str, since: float, job: str | None) -> bool:
        """False if it was put aside already, for whatever reason. OSError as for `pause`. Blocks."""
        one = Quarantined(uuid=uuid, why=why, since=since, boot_id=self._boot_id, job=job)
        if uuid in self.quarantine:
            return False
        self._change(lambda before: _with_quarantine(before, (*self.quarantine.values(), one)))
        return True

    def clear(self, uuid: str) -> None:
        """Gives a GPU out again. OSError as for `pause`. Blocks."""
        left = tuple(one for one in self.quarantine.values() if one.uuid != uuid)
        self._change(lambda before: _with_quarantine(before, left))

    def _change(self, change: Callable[[MachineRecord], MachineRecord]) -> None:
        with self._writing:
            self._write(change(self._record))

    def _write(self, record: MachineRecord) -> None:
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if self.problem is not None:
            self._keep()
        write_file(self._path, msgspec.json.encode(record) + b"\n")
        failpoint("machine.durable")
        self._record = record
        self.problem = None

    def _keep(self) -> None:
        """A second name for the damaged record. The first one stays until the new record takes it, so that a crash
        between the two leaves the doubt as it was."""
        number = 1
        while (kept := self._path.with_name(f"{self._path.name}.damaged-{number}")).exists():
            if kept.samefile(self._path):
                return  # the write after it was refused
            number += 1
        os.link(self._path, kept)

    def _read(self) -> MachineRecord:
        try:
            return decode(self._path.read_bytes(), MachineRecord)
        except FileNotFoundError:
            return MachineRecord()
        except (OSError, msgspec.MsgspecError) as error:
            why = (error.strerror or str(error)) if isinstance(error, OSError) else "it is damaged"
            self.problem = (
                f"Whether the queue is paused cannot be read from {self._path} ({why}), so nothing is started; "
                "`fluxgymctl continue` or `fluxgymctl pause` writes it anew."
            )
            return MachineRecord(queue_paused=True)


def _with_quarantine(record: MachineRecord, quarantine: tuple[Quarantined, ...]) -> MachineRecord:
    return msgspec.structs.replace(record, quarantine=quarantine)
