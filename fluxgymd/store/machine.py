# SPDX-License-Identifier: Apache-2.0
"""What is true of this machine and not of a job: whether its queue is paused. On local disk, keyed by machine-id, so
that a home that moves to another machine does not take it along (DESIGN: Where things lie).
"""

from pathlib import Path

import msgspec

from fluxgymd.core.decoding import decode
from fluxgymd.core.records import Record
from fluxgymd.store.atomic import write_file


class MachineRecord(Record, frozen=True, kw_only=True):
    """MACHINE-ID.json."""

    queue_paused: bool = False


class MachineState:
    """Read once; each change is durable when the call returns."""

    def __init__(self, folder: Path, machine_id: str) -> None:
        self._path = folder / f"{machine_id or 'unknown'}.json"
        self._record = self._read()

    @property
    def paused(self) -> bool:
        return self._record.queue_paused

    def pause(self, *, paused: bool) -> None:
        """OSError if the disk refuses; then nothing has changed. Blocks."""
        record = msgspec.structs.replace(self._record, queue_paused=paused)
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_file(self._path, msgspec.json.encode(record) + b"\n")
        self._record = record

    def _read(self) -> MachineRecord:
        try:
            return decode(self._path.read_bytes(), MachineRecord)
        except FileNotFoundError:
            return MachineRecord()
        except (OSError, msgspec.MsgspecError):
            return MachineRecord(queue_paused=True)  # in doubt nothing is started; `fluxgymctl continue` mends it
