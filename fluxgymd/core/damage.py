# SPDX-License-Identifier: Apache-2.0
"""Determines which GPUs a damaged job may still hold (promises 4 and 8). In case of doubt it keeps them, and only a
recorded end frees them.

The events after a bad line don't add up to a state of the job, but each was true when it was written. If an
unreadable part of the journal may hide a reservation, and something of the job may run, it may run on any GPU.
"""

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum

import msgspec

from fluxgymd.core.job import Job
from fluxgymd.core.journal import events as e

GPU_UUID = re.compile(rb"(?:GPU|MIG)-[0-9A-Za-z-]+")
WHOLE_LIST = re.compile(rb'"gpus":\[(?:"[0-9A-Za-z-]+"(?:,"[0-9A-Za-z-]+")*)?\]')
"""The complete list of GPUs of a reservation, as events.encode writes it."""


class Everything(Enum):
    """The lease of every GPU of this machine and of its CPU slot."""

    EVERYTHING = "everything"


EVERYTHING = Everything.EVERYTHING

Lease = tuple[str, ...] | Everything
"""The UUIDs of the GPUs that a job holds; an empty tuple stands for the CPU slot."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Traces:
    """What a damaged journal says about its job's lease."""

    lease: tuple[str, ...] | None
    """The lease as far as it can be read; None if nothing is held."""
    reserved: Mapping[int, tuple[str, ...]] = field(default_factory=dict)
    """The GPUs of attempts, by attempt number: the last attempt before the bad line, and all readable later ones."""
    certain: bool = True
    """Whether the unreadable lines can't hide a reservation of other GPUs."""


UNREADABLE = Traces(lease=None, certain=False)
"""For a journal that can't be read at all."""


def traces(before: Job | None, rest: Iterable[bytes]) -> Traces:
    """The traces of a lease. `before`: the job as of the last good line, if any; `rest`: the first bad line and all
    lines after it."""
    held = before.lease if before is not None else None
    last = before.last if before is not None else None
    reserved = {last.number: last.gpus} if last is not None else {}
    certain = before is not None  # without a beginning, anything may be missing
    for line in filter(None, rest):
        try:
            event = e.decode(line)
        except msgspec.MsgspecError:
            named = [uuid.decode() for uuid in GPU_UUID.findall(line)]
            whole = WHOLE_LIST.search(line) is not None
            if named or whole:  # the line may have been a reservation
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
                certain = False  # the reservation itself was damaged
            case _:
                pass
    return Traces(lease=held, reserved=reserved, certain=certain)


def kept(found: Traces, *, may_run: Collection[int | None]) -> Lease | None:
    """The lease that the job keeps until its journal is repaired; None if it keeps nothing.

    `may_run`: the attempts of which something may run on this machine, determined without the journal
    (attempts/leftovers.py). A None among them stands for an unknown attempt.
    """
    if found.certain or not may_run:
        return found.lease
    gpus = set(found.lease or ())
    for attempt in may_run:
        if attempt is None or attempt not in found.reserved:
            return EVERYTHING
        gpus.update(found.reserved[attempt])
    return tuple(sorted(gpus))
