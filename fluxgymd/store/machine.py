# SPDX-License-Identifier: Apache-2.0
"""The state of this machine, as opposed to a job's: whether its queue is paused, and which of its GPUs are
quarantined. The record is on a local disk and named after the machine-id, so that it does not move with a home to
another machine.

A record that cannot be read counts as a pause: in doubt the daemon starts nothing. The damaged record is kept beside
the one that replaces it (promise 8).
"""

import os
import threading
from pathlib import Path

import msgspec

from fluxgym.files import read_file
from fluxgymd.core.journal.decoding import decode
from fluxgymd.core.journal.records import Record
from fluxgymd.failpoints import failpoint
from fluxgymd.store.atomic import write_file


class Quarantined(Record, frozen=True, kw_only=True):
    """A GPU that no job gets."""

    uuid: str
    why: str
    """One sentence."""
    since: float
    """Seconds since the epoch."""
    boot_id: str
    """The quarantine ends with this boot, because a reboot resets the GPU and ends the processes that hung on it."""
    job: str | None = None
    """The job that ran on the GPU, if the quarantine is due to one."""


class MachineRecord(Record, frozen=True, kw_only=True):
    """MACHINE-ID.json."""

    queue_paused: bool = False
    quarantine: tuple[Quarantined, ...] = ()


class MachineState:
    """The record, read once. Each change is durable when the call returns."""

    def __init__(self, folder: Path, machine_id: str, boot_id: str = "") -> None:
        self.machine_id = machine_id
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
        """The GPUs that were quarantined in this boot, by UUID."""
        return {one.uuid: one for one in self._record.quarantine if one.boot_id == self._boot_id}

    def pause(self, *, paused: bool) -> None:
        """Pauses the queue, or lets it continue. After an OSError this state is unchanged. Blocks."""
        with self._writing:
            self._write(msgspec.structs.replace(self._record, queue_paused=paused))

    def put_aside(self, uuid: str, *, why: str, since: float, job: str | None) -> bool:
        """Quarantines a GPU. Returns False if it already was, for whatever reason. OSError as for `pause`. Blocks."""
        one = Quarantined(uuid=uuid, why=why, since=since, boot_id=self._boot_id, job=job)
        with self._writing:
            if uuid in self.quarantine:
                return False
            self._write(msgspec.structs.replace(self._record, quarantine=(*self.quarantine.values(), one)))
        return True

    def clear(self, uuid: str) -> None:
        """Ends a GPU's quarantine. OSError as for `pause`. Blocks."""
        with self._writing:  # already while it looks, or a GPU that is quarantined meanwhile would be dropped
            left = tuple(one for one in self.quarantine.values() if one.uuid != uuid)
            self._write(msgspec.structs.replace(self._record, quarantine=left))

    def _write(self, record: MachineRecord) -> None:
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if self.problem is not None:
            self._keep()
        write_file(self._path, msgspec.json.encode(record) + b"\n")
        failpoint("machine.durable")
        self._record = record
        self.problem = None

    def _keep(self) -> None:
        """Gives the damaged record a second name. It keeps the first until the new record replaces it, so after a
        crash in between the record is still unreadable, and the queue still paused."""
        number = 1
        while (kept := self._path.with_name(f"{self._path.name}.damaged-{number}")).exists():
            if kept.samefile(self._path):
                return  # kept by an earlier call, after which the write failed
            number += 1
        os.link(self._path, kept)

    def _read(self) -> MachineRecord:
        try:
            return decode(read_file(self._path), MachineRecord)
        except FileNotFoundError:
            return MachineRecord()
        except (OSError, msgspec.MsgspecError) as error:
            why = (error.strerror or str(error)) if isinstance(error, OSError) else "it is damaged"
            advice = "`fluxgymctl continue` or `fluxgymctl pause` rewrites it"
            # A file cannot replace a folder. os.path, because Path.is_dir raises if the state folder is unreadable.
            if os.path.isdir(self._path):
                advice = "move it elsewhere, then restart fluxgymd"
            self.problem = (
                f"Whether the queue is paused cannot be read from {self._path} ({why}), so nothing is started; "
                f"{advice}."
            )
            return MachineRecord(queue_paused=True)
