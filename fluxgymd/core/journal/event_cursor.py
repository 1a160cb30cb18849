# SPDX-License-Identifier: Apache-2.0
"""A position in the events of all jobs that remains valid across daemons: the length of each job's journal.

A few hundred jobs are listed with their lengths. The others share one digest: if it still matches, none of them has
changed. So a cursor takes a few kilobytes at most, however many jobs there are, and no journal has to be read to find
out which ones grew.

Nothing here is secret or trusted: an invalid cursor matches nothing, and its client starts over.
"""

import base64
from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import blake2b
from typing import NamedTuple

LISTED = 256
"""How many jobs a cursor lists: those that changed last."""
_VERSION = 1
_KEY_BYTES = 6
_DIGEST_BYTES = 8
_INSTANCE_BYTES = 8
_WRAP = 1 << (8 * _DIGEST_BYTES)


class Journaled(NamedTuple):
    """What a cursor knows about one job."""

    key: int
    number: int
    """Its submit number."""
    size: int
    """The length of its journal in bytes."""


@dataclass(frozen=True, slots=True)
class Digest:
    """A digest of any number of jobs and their sizes, independent of their order."""

    count: int = 0
    sum: int = 0

    def plus(self, key: int, size: int) -> "Digest":
        return Digest(self.count + 1, (self.sum + _mix(key, size)) % _WRAP)

    def minus(self, key: int, size: int) -> "Digest":
        return Digest(self.count - 1, (self.sum - _mix(key, size)) % _WRAP)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cursor:
    instance: str
    """The daemon that issued it: 16 hexadecimal digits."""
    change: int
    """The number of that daemon's last change to the jobs."""
    number: int
    """The highest submit number. A job with a higher one is new."""
    listed: dict[int, int]
    """Sizes by key."""
    others: Digest


def key_of(job_id: str, name: str) -> int:
    """Identifies a job in cursors. The name is part of it, since a copied folder has the same id."""
    return int.from_bytes(blake2b(f"{job_id}\0{name}".encode(), digest_size=_KEY_BYTES).digest())


def encode(cursor: Cursor) -> str:
    out = bytearray([_VERSION])
    out += bytes.fromhex(cursor.instance)
    for number in (cursor.change, cursor.number, cursor.others.count):
        _put(out, number)
    out += cursor.others.sum.to_bytes(_DIGEST_BYTES)
    for key, size in cursor.listed.items():
        out += key.to_bytes(_KEY_BYTES)
        _put(out, size)
    return base64.urlsafe_b64encode(out).rstrip(b"=").decode()


def decode(text: str) -> Cursor | None:
    """None if no known version of FluxGym issued it."""
    try:
        data = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except ValueError:
        return None
    if data[:1] != bytes([_VERSION]):
        return None
    taken = _Taken(data, 1)
    try:
        instance = taken.bytes(_INSTANCE_BYTES).hex()
        change, number, count = taken.number(), taken.number(), taken.number()
        others = Digest(count, int.from_bytes(taken.bytes(_DIGEST_BYTES)))
        listed = {}
        while taken.at < len(data):
            key = int.from_bytes(taken.bytes(_KEY_BYTES))
            listed[key] = taken.number()
    except IndexError:
        return None
    return Cursor(instance=instance, change=change, number=number, listed=listed, others=others)


def grown(cursor: Cursor, present: Iterable[Journaled], *, only: int | None = None) -> dict[int, int] | None:
    """The jobs that have events after the cursor, by key, each with the size after which events are new.

    None if that is unknown: jobs have disappeared or come back, a journal became shorter, or a job that is not listed
    has changed.

    `only`: the key of the one job that matters.
    """
    begins: dict[int, int] = {}
    seen, others = 0, Digest()
    for job in present:
        if (before := cursor.listed.get(job.key)) is not None:
            seen += 1
        elif job.number > cursor.number:
            before = 0
        else:
            others = others.plus(job.key, job.size)
            continue
        if only is not None and job.key != only:
            continue
        if job.size < before:
            return None
        if job.size > before:
            begins[job.key] = before
        if job.key == only:
            return begins
    return begins if seen == len(cursor.listed) and others == cursor.others else None


def _mix(key: int, size: int) -> int:
    job = key.to_bytes(_KEY_BYTES) + size.to_bytes(8)
    return int.from_bytes(blake2b(job, digest_size=_DIGEST_BYTES).digest())


def _put(out: bytearray, number: int) -> None:
    """Appends a number, seven bits to a byte."""
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)


class _Taken:
    """Reads values from bytes, one after the other. IndexError at the end, or if a number is too long."""

    def __init__(self, data: bytes, at: int) -> None:
        self._data = data
        self.at = at

    def bytes(self, count: int) -> bytes:
        if self.at + count > len(self._data):
            raise IndexError
        self.at += count
        return self._data[self.at - count : self.at]

    def number(self) -> int:
        value = 0
        for place in range(0, 63, 7):
            (byte,) = self.bytes(1)
            value |= (byte & 0x7F) << place
            if byte <= 0x7F:
                return value
        raise IndexError
