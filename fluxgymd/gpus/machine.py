# SPDX-License-Identifier: Apache-2.0
"""What is known of the GPUs of this machine.

A machine whose NVML does not answer does not count as one without GPUs: nothing is started until NVML answers
(promise 4), and meanwhile the state of the GPUs is unknown, never healthy (promise 7). Callers that ask at the same
time share the answer to one question.
"""

import asyncio
import math
import time
from collections import Counter
from collections.abc import Sequence

import msgspec

from fluxgymd.core.gpu import Reading
from fluxgymd.gpus.asking import DEADLINE_SECONDS, REST_SECONDS, Asking
from fluxgymd.gpus.history import GpuHistory
from fluxgymd.gpus.probe import ProbeAnswer

MOST_OF_A_KIND = 16
"""The number of occurrences that are kept of each Xid on each GPU. A GPU that reports thousands neither fills the
memory nor hides other Xids."""


class Gpus:
    def __init__(self, *, deadline_seconds: float = DEADLINE_SECONDS, rest_seconds: float = REST_SECONDS) -> None:
        self._helper = Asking(deadline_seconds=deadline_seconds, rest_seconds=rest_seconds)
        self._uuids: list[str] = []
        self.asked = False
        """Whether a first answer came. Until then nothing is started, but nothing is reported as wrong either."""
        self.uncertain: str | None = None
        self.problem: str | None = None
        self._question: asyncio.Task[None] | None = None
        self._put_at = -math.inf
        """When the last question that was answered was put; monotonic."""
        self._readings: tuple[Reading, ...] = ()
        self.history = GpuHistory()
        self._all_told = False
        """Whether NVML listed all of its GPUs in the last answer. Then a GPU that is missing has left the bus."""
        self._seen: dict[str, Reading] = {}
        """The last reading of each GPU, by UUID."""

    @property
    def uuids(self) -> list[str]:
        """The UUIDs of the GPUs of this machine, by index."""
        return self._uuids

    @property
    def consequence(self) -> str | None:
        """The problem and what follows from it, in sentences; None if there is no problem."""
        if self.problem is None:
            return None
        if self.uncertain:
            follows = "No training will start until the GPUs of this machine are known."
        elif self._uuids:
            return self.problem  # it affects one GPU; the others are used
        else:
            follows = "Trainings run on the CPU, one at a time."
        return f"{self.problem} {follows}"

    @property
    def readings(self) -> tuple[Reading, ...]:
        """Those of the last answer."""
        return self._readings

    @property
    def lost(self) -> tuple[str, ...]:
        """The UUIDs of the GPUs that fell off the bus."""
        return tuple(reading.uuid for reading in self._readings if reading.lost)

    async def ask(self, *, max_age: float = 0.0) -> tuple[Reading, ...]:
        """The readings of all GPUs. Asks NVML, unless the last answer is younger than `max_age` seconds. Empty if
        there is no NVML or it does not answer.

        One question is put at a time. A caller shares the answer to the current one if that was put within the
        caller's `max_age`, and otherwise waits for the next. A question goes on if its callers stop waiting.
        """
        wanted = time.monotonic() - max_age
        while self._put_at < wanted:
            if self._question is None:
                self._question = asyncio.create_task(self._put(), name="gpu-question")
            await asyncio.shield(self._question)
        return self._readings

    def of(self, uuids: Sequence[str]) -> tuple[Reading, ...] | None:
        """The last readings of these GPUs; None if the last answer does not cover all of them."""
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

    def _take(self, answer: ProbeAnswer) -> None:
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
        self.history.note(readings, now=time.time())
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
