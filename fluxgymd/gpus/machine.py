# SPDX-License-Identifier: Apache-2.0
"""The GPUs of this machine, as they are known.

A machine whose NVML is there but does not answer is not one without GPUs: then nothing is started until it answers
(promise 4), and what its GPUs do is unknown, never well (promise 7). Whoever needs to know shares the answer to one
question.
"""

import asyncio
import math
import time
from collections import Counter
from collections.abc import Sequence

import msgspec

from fluxgymd.core.gpu import Reading
from fluxgymd.gpus.asking import DEADLINE_SECONDS, REST_SECONDS, Asking
from fluxgymd.gpus.probe import Answer

MOST_OF_A_KIND = 16
"""Of each Xid on each GPU so many are kept: a GPU that throws thousands fills no memory, and hides no other Xid."""


class Gpus:
    def __init__(self, *, deadline_seconds: float = DEADLINE_SECONDS, rest_seconds: float = REST_SECONDS) -> None:
        self._helper = Asking(deadline_seconds=deadline_seconds, rest_seconds=rest_seconds)
        self._uuids: list[str] = []
        self.asked = False
        """Whether an answer was had at all; until then nothing is started, and nothing is wrong either."""
        self.uncertain: str | None = None
        self.problem: str | None = None
        self._question: asyncio.Task[None] | None = None
        self._put_at = -math.inf
        """When the question was put that was answered last; monotonic."""
        self._readings: tuple[Reading, ...] = ()
        self._all_told = False
        """NVML itself listed its GPUs: one that is not among them is not on the bus any more."""
        self._seen: dict[str, Reading] = {}
        """Each GPU as it was told last."""

    @property
    def uuids(self) -> list[str]:
        """The GPUs of this machine, by index."""
        return self._uuids

    @property
    def lost(self) -> tuple[str, ...]:
        """Those of them that fell off the bus."""
        return tuple(reading.uuid for reading in self._readings if reading.lost)

    async def ask(self, *, max_age: float = 0.0) -> tuple[Reading, ...]:
        """Asks NVML, unless the last answer is younger than `max_age` seconds; updates what is known. Empty if there
        is none or it does not answer.

        One question is put at a time: who waits for it shares the answer to one that was put after theirs. It goes on
        when they stop waiting.
        """
        wanted = time.monotonic() - max_age
        while self._put_at < wanted:
            if self._question is None:
                self._question = asyncio.create_task(self._put(), name="gpu-question")
            await asyncio.shield(self._question)
        return self._readings

    def of(self, uuids: Sequence[str]) -> tuple[Reading, ...] | None:
        """What the last answer tells of these GPUs. None: it does not tell of all of them."""
        told = {reading.uuid: reading for reading in self._readings}
        if self._all_told:
            told = {uuid: self._off_the_bus(uuid) for uuid in uuids} | told
        return tuple(told[uuid] for uuid in uuids) if all(uuid in told for uuid in uuids) else None

    async def close(self) -> None:
        """Ends the helper."""
        if self._question is not None:
            self._question.cancel()
            await asyncio.wait({self._question})
        await self._helper.close()

    async def _put(self) -> None:
        began = time.monotonic()
        try:
            self._take(await self._helper.ask())
            self._put_at = began
        finally:
            self._question = None

    def _take(self, answer: Answer) -> None:
        self.asked = True
        self.problem = answer.problem
        self.uncertain = None if answer.certain else answer.problem
        self._all_told = answer.works
        readings = []
        for told in answer.gpus:
            before = self._seen[told.uuid].xids if told.uuid in self._seen else ()
            reading = msgspec.structs.replace(told, xids=_grown(before, told.xids))
            self._seen[told.uuid] = reading
            readings.append(reading)
        self._readings = tuple(readings)
        if answer.certain:
            self._uuids = [reading.uuid for reading in readings]

    def _off_the_bus(self, uuid: str) -> Reading:
        known = self._seen.get(uuid)
        if known is None:
            return Reading(index=-1, uuid=uuid, name="unknown", lost=True)
        return Reading(index=known.index, uuid=uuid, name=known.name, xids=known.xids, lost=True)


def _grown(before: tuple[int, ...], more: Sequence[int]) -> tuple[int, ...]:
    counted = Counter(before)
    kept = list(before)
    for xid in more:
        if counted[xid] < MOST_OF_A_KIND:
            counted[xid] += 1
            kept.append(xid)
    return tuple(kept)
