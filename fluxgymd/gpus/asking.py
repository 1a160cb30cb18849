# SPDX-License-Identifier: Apache-2.0
"""Puts questions to the helper that asks NVML (probe.py), one at a time, each with a deadline.

NVML calls can hang in the kernel forever, so the daemon itself never makes them
(docs/decisions/0013-helpers-for-what-may-hang.md). A helper that does not answer is killed; one that cannot be killed
is left behind, and another replaces it. While LEFT_BEHIND helpers hang, no more are started: NVML would hang again,
and each helper that hangs occupies a process for good.
"""

import asyncio
from contextlib import suppress

import msgspec

from fluxgymd.background import helpers
from fluxgymd.core.journal.decoding import decode
from fluxgymd.gpus.probe import ProbeAnswer

DEADLINE_SECONDS = 15.0
"""With 2 s there were false alarms on loaded hosts."""
KILL_SECONDS = 2.0
REST_SECONDS = 180.0
"""A helper that gets no question for this long is ended. While a helper runs, the driver stays initialized and cannot
be unloaded."""
LEFT_BEHIND = 3
ANSWER_BYTES = 1 << 20
"""The longest answer, a line. A GPU takes about 500 bytes, and each of its processes 8."""

COMMAND = tuple(helpers.command("fluxgymd.gpus.probe"))


class Asking:
    def __init__(self, *, deadline_seconds: float = DEADLINE_SECONDS, rest_seconds: float = REST_SECONDS) -> None:
        self._deadline = deadline_seconds
        self._rest = rest_seconds
        self._helper: asyncio.subprocess.Process | None = None
        self._left_behind: list[asyncio.subprocess.Process] = []
        self._alarm: asyncio.TimerHandle | None = None
        self._resting: asyncio.Task[None] | None = None

    @property
    def left_behind(self) -> int:
        """The number of helpers that hang and could not be killed."""
        self._left_behind = [one for one in self._left_behind if one.returncode is None]
        return len(self._left_behind)

    async def ask(self) -> ProbeAnswer:
        """Puts one question. The caller must not put another at the same time. If the call is cancelled, the helper,
        whose answer is still due, is ended."""
        self._stay()
        if self._resting is not None:
            await self._resting
        answer = None
        try:
            answer = await self._ask()
            return answer
        finally:
            if answer is None or not answer.works:
                await self.close()
            else:
                loop = asyncio.get_running_loop()
                self._alarm = loop.call_later(self._rest, self._begin_rest)

    async def close(self) -> None:
        """Ends the helper. The next question starts a new one."""
        self._stay()
        helper, self._helper = self._helper, None
        if helper is not None and not await _end(helper):
            self._left_behind.append(helper)

    def _stay(self) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None

    def _begin_rest(self) -> None:
        self._resting = asyncio.create_task(self.close(), name="gpu-helper-rests")

    async def _ask(self) -> ProbeAnswer:
        if self._helper is None or self._helper.returncode is not None:
            if self.left_behind >= LEFT_BEHIND:
                hang = f"{self.left_behind} helpers that asked it hang and cannot be killed"
                return ProbeAnswer(certain=False, problem=f"NVML does not answer: {hang}. Reboot the machine.")
            try:
                self._helper = await _start()
            except OSError as error:  # no process, descriptor or memory is left at present
                why = f"The program that asks NVML cannot be started: {error.strerror}."
                return ProbeAnswer(certain=False, problem=why)
        try:
            async with asyncio.timeout(self._deadline):
                return decode(await _question(self._helper), ProbeAnswer)
        except TimeoutError:
            return ProbeAnswer(certain=False, problem=f"NVML did not answer within {self._deadline:g} s.")
        except (msgspec.MsgspecError, OSError, ValueError):  # a line cut short, a broken pipe, an endless line
            helper = self._helper
            await _gone(helper)  # before close(): after a kill() of a dead helper, asyncio reports its status as 255
            await self.close()
            return ProbeAnswer(
                certain=False, problem=f"The program that asks NVML died (status {helper.returncode})."
            )


async def _start() -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *helpers.tied(COMMAND),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        limit=ANSWER_BYTES,
        cwd=helpers.DIRECTORY,
    )


async def _question(helper: asyncio.subprocess.Process) -> bytes:
    assert helper.stdin is not None
    assert helper.stdout is not None
    helper.stdin.write(b"\n")
    await helper.stdin.drain()
    return await helper.stdout.readline()


async def _end(helper: asyncio.subprocess.Process) -> bool:
    """Ends a helper. Returns whether it has ended; one that hangs in the kernel is not waited for."""
    assert helper.stdin is not None
    helper.stdin.close()  # asks the helper to exit
    if helper.returncode is None:
        with suppress(ProcessLookupError):
            helper.kill()
    return await _gone(helper)


async def _gone(helper: asyncio.subprocess.Process) -> bool:
    """Waits up to KILL_SECONDS for the helper's end. Returns whether it has ended."""
    with suppress(TimeoutError):
        async with asyncio.timeout(KILL_SECONDS):
            await helper.wait()
    return helper.returncode is not None
