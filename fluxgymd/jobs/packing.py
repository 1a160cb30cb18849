# SPDX-License-Identifier: Apache-2.0
"""Packs the jobs that are over, so that a home of ten thousand old jobs needs little memory (bench/control_plane.py).

Measured with Python 3.11: a job takes 4.2 kB as objects, and 250 bytes packed. Unpacking gives an equal job.
"""

import zlib
from functools import lru_cache

import msgspec

from fluxgymd.core.job import Final, Job

RECENT = 256
"""How many jobs stay unpacked after a request, for the next one: a list of the newest jobs asks again and again."""


class Packer:
    """Packs with msgpack and zlib. The jobs of a home have similar paths and texts, so the first one that is packed
    is the compression dictionary for all."""

    def __init__(self) -> None:
        self._encoder = msgspec.msgpack.Encoder()
        self._decoder = msgspec.msgpack.Decoder(Job)
        self._dictionary: bytes | None = None
        self.unpack = lru_cache(RECENT)(self._unpack)

    def pack(self, job: Job) -> bytes:
        whole = self._encoder.encode(job)
        if self._dictionary is None:
            self._dictionary = whole
        compressor = zlib.compressobj(level=1, zdict=self._dictionary)
        return compressor.compress(whole) + compressor.flush()

    def _unpack(self, packed: bytes) -> Job:
        assert self._dictionary is not None
        return self._decoder.decode(zlib.decompressobj(zdict=self._dictionary).decompress(packed))


_packer = Packer()

Kept = Job | bytes | None
"""A job as it is kept in memory: packed or not; None if it could not be read."""


def keep(job: Job | None) -> Kept:
    """Packs a job that is over. One that runs or waits stays as it is, since it is read all the time."""
    return _packer.pack(job) if job is not None and isinstance(job.state, Final) else job


def job_of(kept: Kept) -> Job | None:
    """The job that was kept. Callers share the object, which is frozen."""
    return _packer.unpack(kept) if isinstance(kept, bytes) else kept
