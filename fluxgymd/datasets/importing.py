# SPDX-License-Identifier: Apache-2.0
"""Runs the importer (fluxgymd/pictures) in a process of its own, and reads what it prints while it runs."""

import asyncio
from asyncio.subprocess import Process
from collections.abc import AsyncGenerator
from contextlib import aclosing, asynccontextmanager, suppress
from pathlib import Path

import msgspec

from fluxgym.errors import InvalidDataset, StorageFailed
from fluxgymd.background import helpers
from fluxgymd.background.helpers import ResourceLimits
from fluxgymd.background.turns import Turns
from fluxgymd.pictures.lines import AnyLine, Done, ImportFailed, Wishes

LIMITS = ResourceLimits(data_bytes=4 << 30, nice=5)
"""As for the copier: a decoder may hold the largest accepted picture twice. A training may run beside it."""
AT_ONCE = 2
"""How many imports run at a time: each keeps a CPU core busy."""
LINE_BYTES = 4 << 20
"""The longest line, which has one caption."""
BATCH = 64
"""How many lines at most are handed on together. Those that are there are recorded with one fsync."""


class NoPictures(InvalidDataset):
    """A source in which nothing looks like a picture."""


class Importer:
    def __init__(self, store: Path) -> None:
        self.store = store
        self._turns = Turns(AT_ONCE)
        self._under_way = 0
        self._quiet = asyncio.Lock()

    async def run(self, source: Path, wishes: Wishes) -> AsyncGenerator[list[AnyLine], None]:
        """What the importer prints, in batches, without its last line. NoPictures, InvalidDataset or StorageFailed if
        it fails. Its process ends with the iterator."""
        async with self._quiet:
            self._under_way += 1
        try:
            async with self._turns.turn(), aclosing(self._run(source, wishes)) as batches:
                async for batch in batches:
                    yield batch
        finally:
            self._under_way -= 1

    @asynccontextmanager
    async def quiet(self) -> AsyncGenerator[bool, None]:
        """Keeps imports from beginning. False if one runs or waits for its turn: then the store may have files that
        no dataset uses yet."""
        async with self._quiet:
            yield not self._under_way

    async def _run(self, source: Path, wishes: Wishes) -> AsyncGenerator[list[AnyLine], None]:
        words = helpers.command("fluxgymd.pictures.importer", str(source), str(self.store))
        process = await asyncio.create_subprocess_exec(
            *helpers.tied(words, LIMITS),
            cwd=helpers.DIRECTORY,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            limit=LINE_BYTES,
        )
        assert process.stdin is not None
        assert process.stdout is not None
        lines: asyncio.Queue[bytes] = asyncio.Queue(BATCH)
        reading = asyncio.create_task(_read(process, process.stdout, lines), name="importer-lines")
        try:
            with suppress(ConnectionError):  # it has failed already, and says why
                process.stdin.write(msgspec.json.encode(wishes))
                await process.stdin.drain()
            process.stdin.close()
            while True:
                batch = [_decode(line) for line in await _gathered(lines)]
                last = batch[-1] if batch else None
                if last is None or isinstance(last, (Done, ImportFailed)):
                    if batch[:-1]:
                        yield batch[:-1]
                    _refuse(last, source, await process.wait())
                    return
                yield batch
        finally:
            reading.cancel()
            _kill(process)


async def _read(process: Process, stdout: asyncio.StreamReader, lines: "asyncio.Queue[bytes]") -> None:
    """Puts each line into the queue, and at the end an empty one."""
    try:
        while line := await stdout.readline():
            await lines.put(line)
    except ValueError:  # a line longer than LINE_BYTES
        _kill(process)  # it is broken
        while await stdout.read(LINE_BYTES):
            pass  # its end is only known once its output was read
    await lines.put(b"")


def _kill(process: Process) -> None:
    with suppress(ProcessLookupError):
        process.kill()


async def _gathered(lines: "asyncio.Queue[bytes]") -> list[bytes]:
    """The lines that are there, at least one; empty at the end."""
    found = [await lines.get()]
    while found[-1] and len(found) < BATCH and not lines.empty():
        found.append(lines.get_nowait())
    if found[-1]:
        return found
    if len(found) > 1:
        lines.put_nowait(b"")  # for the next call
    return found[:-1]


def _decode(line: bytes) -> AnyLine:
    decoded: AnyLine = msgspec.json.decode(line, type=AnyLine)
    return decoded


def _refuse(last: AnyLine | None, source: Path, status: int) -> None:
    """Raises the error of an import that did not reach the end of its source."""
    if isinstance(last, ImportFailed):
        if last.storage:
            raise StorageFailed(last.sentence)
        raise (NoPictures if last.empty else InvalidDataset)(last.sentence, path=str(source))
    if last is None:
        raise InvalidDataset(
            f"{source} could not be imported completely: the program that opens its pictures died (status {status}).",
            path=str(source),
        )
