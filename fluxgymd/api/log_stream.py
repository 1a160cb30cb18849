# SPDX-License-Identifier: Apache-2.0
"""The stream of a training log. The cursor is a byte offset, so a client goes on where it was, whatever happened.

Many may follow one log: it is read and made a message once for all of them. Each waits for its own client alone, and
what is kept for those who are behind is bounded; who is farther behind reads the file (bench/control_plane.py).
"""

import asyncio
import codecs
import os
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path

import msgspec

from fluxgym.methods import LogsReply
from fluxgymd import lanes
from fluxgymd.api.calls import Send
from fluxgymd.core.job import Final
from fluxgymd.engine.book import Entry

CHUNK_BYTES = 64 * 1024
CHUNKS_KEPT = 8
FOLLOW_SECONDS = 0.25

_encoder = msgspec.json.Encoder()


@dataclass(frozen=True, slots=True)
class Chunk:
    """A piece of a log as it goes on the wire, and the offset behind it."""

    reply: msgspec.Raw
    end: int


class Tail:
    """One log, for all who read it now."""

    def __init__(self, log: Path) -> None:
        self._log = log
        self._kept: OrderedDict[int, Chunk] = OrderedDict()  # by the offset at which they begin
        self._reading: dict[int, asyncio.Task[Chunk | None]] = {}
        self._tick: asyncio.Task[None] | None = None
        self.readers = 0

    async def chunk(self, offset: int) -> Chunk | None:
        """What the log holds from an offset on; None while there is nothing."""
        if (kept := self._kept.get(offset)) is not None:
            return kept
        if (task := self._reading.get(offset)) is None:
            task = self._reading[offset] = asyncio.create_task(self._read(offset), name="log-read")
            task.add_done_callback(lambda _: self._reading.pop(offset, None))
        return await asyncio.shield(task)  # somebody who leaves does not take it from the others

    async def _read(self, offset: int) -> Chunk | None:
        # Who catches up ends where a kept chunk begins, and goes on with that one; unless somebody made it begin
        # within a character, which is whole only with the bytes behind.
        size = min((start - offset for start in self._kept if start > offset), default=CHUNK_BYTES)
        text, end = await lanes.answer(str(self._log.parent), _read, self._log, offset, size=min(size, CHUNK_BYTES))
        if not text and size < CHUNK_BYTES:
            text, end = await lanes.answer(str(self._log.parent), _read, self._log, offset)
        if not text:
            return None
        chunk = self._kept[offset] = Chunk(msgspec.Raw(_encoder.encode(LogsReply(text=text, offset=end))), end)
        if len(self._kept) > CHUNKS_KEPT:
            self._kept.popitem(last=False)
        return chunk

    async def wait(self) -> None:
        """Until it is time to look again: all look at the same moment, so that one read serves them."""
        if self._tick is None or self._tick.done():
            self._tick = asyncio.create_task(asyncio.sleep(FOLLOW_SECONDS), name="log-tick")
        await asyncio.shield(self._tick)


class LogStreams:
    def __init__(self) -> None:
        self._tails: dict[Entry, Tail] = {}

    async def stream(self, entry: Entry, offset: int, *, follow: bool, send: Send) -> LogsReply:
        """Sends what there is, and with `follow` what comes, until the job has ended. Returns the last reply."""
        log = entry.folder.log
        if offset < 0:
            offset = await lanes.answer(str(log.parent), _line_from_end, log, -offset)
        tail = self._tails.setdefault(entry, Tail(log))
        tail.readers += 1
        try:
            while True:
                ended = _ended(entry)  # asked before the read: what was written before the end is still sent
                chunk = await tail.chunk(offset)
                if chunk is not None:
                    await send(chunk.reply)
                    offset = chunk.end
                elif not follow or ended:
                    text, offset = await lanes.answer(str(log.parent), _read, log, offset, last=True)
                    return LogsReply(text=text, offset=offset)
                else:
                    await tail.wait()
        finally:
            tail.readers -= 1
            if not tail.readers:
                self._tails.pop(entry, None)


def _ended(entry: Entry) -> bool:
    return entry.damage is not None or entry.job is None or isinstance(entry.job.state, Final)


def _read(log: Path, offset: int, *, size: int = CHUNK_BYTES, last: bool = False) -> tuple[str, int]:
    """Text from a byte offset on, and the offset behind it. A character that is written only in part is left for the
    next read, unless this is the last one; bytes that are no UTF-8 become U+FFFD."""
    try:
        with log.open("rb") as file:
            file.seek(offset)
            data = file.read(size)
    except (OSError, ValueError):  # ValueError: an offset that no file can have
        return "", offset
    decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
    text = decoder.decode(data, final=last)
    pending, _ = decoder.getstate()
    return text, offset + len(data) - len(pending)


def _line_from_end(log: Path, lines: int) -> int:
    """The offset at which the last `lines` lines begin."""
    try:
        with log.open("rb") as file:
            end = position = file.seek(0, os.SEEK_END)
            while position > 0:
                start = max(0, position - CHUNK_BYTES)
                file.seek(start)
                data = file.read(position - start)
                # The newline that ends the last line begins no line.
                stop = len(data) - 1 if start + len(data) == end and data.endswith(b"\n") else len(data)
                found = data.count(b"\n", 0, stop)
                if found >= lines:
                    for _ in range(lines):
                        stop = data.rfind(b"\n", 0, stop)
                    return start + stop + 1
                lines -= found
                position = start
    except OSError:
        pass
    return 0
