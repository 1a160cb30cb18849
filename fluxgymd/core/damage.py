# SPDX-License-Identifier: Apache-2.0
"""What a damaged job may still hold (promises 4 and 8): in doubt its GPUs are kept, and only an end that was recorded
frees them.

The events behind a bad line are no state of the job any more, but each of them was true when it was written. Where a
reservation may be hidden in what cannot be read, and something of the job may run, it may be on any GPU.
"""

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum

import msgspec

from fluxgymd.core import events as e
from fluxgymd.core.job import Job

GPU_UUID = re.compile(rb"(?:GPU|MIG)-[0-9A-Za-z-]+")
WHOLE_LIST = re.compile(rb'"gpus":\[(?:"[0-9A-Za-z-]+"(?:,"[0-9A-Za-z-]+")*)?\]')
"""The lease of a reservation, as events.encode writes it."""


class Everything(Enum):
    """Every GPU of this machine, and its CPU slot."""

    EVERYTHING = "everything"


EVERYTHING = Everything.EVERYTHING

Lease = tuple[str, ...] | Everything
"""The UUIDs of the GPUs that a job holds (none of them: the CPU slot)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Traces:
    """What a journal tells of its job's lease."""

    lease: tuple[str, ...] | None
    """What can be read of it; None if nothing is held."""
    reserved: Mapping[int, tuple[str, ...]] = field(default_factory=dict)
    """The GPUs of attempts, by number, as far as they are needed and can be read."""
    certain: bool = True
    """No reservation of other GPUs can be hidden in what cannot be read."""


UNREADABLE = Traces(lease=None, certain=False)
"""Of a journal of which nothing can be read."""


def traces(before: Job | None, rest: Iterable[bytes]) -> Traces:
    """`before`: the job up to the bad line; `rest`: that line and all that follow."""
    held = before.lease if before is not None else None
    last = before.last if before is not None else None
    reserved = {last.number: last.gpus} if last is not None else {}
    certain = before is not None  # of a journal without a beginning anything may be missing
    for line in filter(None, rest):
        try:
            event = e.decode(line)
        except msgspec.MsgspecError:
            named = [uuid.decode() for uuid in GPU_UUID.findall(line)]
            whole = WHOLE_LIST.search(line) is not None
            if named or whole:  # it may have been a reservation
                held = tuple(dict.fromkeys([*(held or ()), *named]))
            certain = certain and whole
            continue
        match event:
            case e.Reserved():
                held, certain = tuple(event.gpus), True
                reserved[event.attempt] = held
            case e.Ended() | e.Disowned():
                held, certain = None, True
            case e.Spawned() | e.Placed() | e.Started() if held is None:
                certain = False  # its reservation is what was damaged
            case _:
                pass
    return Traces(lease=held, reserved=reserved, certain=certain)


def kept(found: Traces, *, may_run: Collection[int | None]) -> Lease | None:
    """What is kept until the journal is repaired; None: nothing. `may_run`: the attempts of which something may run
    on this machine, as far as can be told without the journal; None among them: one that is not known."""
    if found.certain or not may_run:
        return found.lease
    gpus = set(found.lease or ())
    for attempt in may_run:
        if attempt is None or attempt not in found.reserved:
            return EVERYTHING
        gpus.update(found.reserved[attempt])
    return tuple(sorted(gpus))
