# SPDX-License-Identifier: Apache-2.0
"""What is true of this machine and not of a job: whether its queue is paused. On local disk, keyed by machine-id, so
that a home that moves to another machine does not take it along (DESIGN: Where things lie).

A record that cannot be read is a pause: in doubt nothing is started. It is kept beside the one that replaces it
(promise 8).
"""

import os
from pathlib import Path

import msgspec

from fluxgymd.core.decoding import decode
from fluxgymd.core.records import Record
from fluxgymd.failpoints import failpoint
from fluxgymd.store.atomic import write_file


class MachineRecord(Record, frozen=True, kw_only=True):
    """MACHINE-ID.json."""

    queue_paused: bool = False


class MachineState:
    """Read once; each change is durable when the call returns."""

    def __init__(self, folder: Path, machine_id: str) -> None:
        self._path = folder / f"{machine_id or 'unknown'}.json"
        self.problem: str | None = None
        """Why the record could not be read, and what to do about it."""
        self._record = self._read()

    @property
    def paused(self) -> bool:
        return self._record.queue_paused

    def pause(self, *, paused: bool) -> None:
        """OSError if the disk refuses; then nothing has changed. Blocks."""
        record = msgspec.structs.replace(self._record, queue_paused=paused)
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
