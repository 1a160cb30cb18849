# SPDX-License-Identifier: Apache-2.0
"""The GPUs of this machine, as a disposable helper process reads them through NVML.

NVML calls can hang in the kernel for ever, so they are never made in the daemon (daemons.md 3.2): the helper has a
deadline, and is left behind if it cannot be killed.
"""

import asyncio
import logging
import math
import sys
import time
from contextlib import suppress

import msgspec

from fluxgymd.core.decoding import decode
from fluxgymd.gpus.probe import Answer, Reading

log = logging.getLogger(__name__)

DEADLINE_SECONDS = 15
"""2 s gave false alarms on loaded hosts (daemons.md 3.7)."""
KILL_SECONDS = 2


class Gpus:
    """What is known of the GPUs. A machine whose NVML is there but does not answer is not one without GPUs: then
    nothing is started until it answers (promise 4)."""

    def __init__(self, *, deadline_seconds: float = DEADLINE_SECONDS) -> None:
        self._deadline = deadline_seconds
        self._uuids: list[str] = []
        self.asked = False
        """Whether an answer was had at all; until then nothing is started, and nothing is wrong either."""
        self.uncertain: str | None = None
        self.problem: str | None = None
        self._asking = asyncio.Lock()
        self._began = -math.inf
        self._readings: list[Reading] = []

    @property
    def uuids(self) -> list[str]:
        """The GPUs to give out, by index."""
        return self._uuids

    async def ask(self) -> list[Reading]:
        """Asks NVML; updates what is known. Empty if there is none or it does not answer.

        One helper runs at a time: who waits for it shares the answer to a question that was put after theirs.
        """
        wanted = time.monotonic()
        async with self._asking:
            if self._began < wanted:
                began = time.monotonic()
                self._take(await _probe(self._deadline))
                self._began = began
            return self._readings

    def _take(self, answer: Answer) -> None:
        self.asked = True
        self.problem = answer.problem
        self.uncertain = None if answer.certain else answer.problem
        if answer.certain:
            self._uuids = [reading.uuid for reading in answer.gpus]
        self._readings = answer.gpus


async def _probe(deadline: float) -> Answer:
    try:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "fluxgymd.gpus.probe",
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
        )
    except OSError as error:  # no process, descriptor or memory is left just now
        return Answer(certain=False, problem=f"The program that asks NVML cannot be started: {error.strerror}.")
    try:
        async with asyncio.timeout(deadline):
            output, _ = await process.communicate()
        return decode(output, Answer)
    except TimeoutError:
        return Answer(certain=False, problem=f"NVML did not answer within {deadline:g} s.")
    except msgspec.MsgspecError:
        return Answer(certain=False, problem=f"The program that asks NVML died (status {process.returncode}).")
    finally:
        await _end(process)


async def _end(process: asyncio.subprocess.Process) -> None:
    """Kills a helper that has not left. One that hangs in the kernel is not waited for."""
    if process.returncode is None:
        with suppress(ProcessLookupError):
            process.kill()
        with suppress(TimeoutError):
            async with asyncio.timeout(KILL_SECONDS):
                await process.wait()
