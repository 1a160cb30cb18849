# SPDX-License-Identifier: Apache-2.0
"""Streams a training log. The cursor is a byte offset, so a client can continue where it was, whatever happened.

A log is read and encoded once for all clients that follow it. None of them waits for another. What is kept for those
that lag is bounded; a client that lags further reads the file (bench/control_plane.py).
"""

import asyncio
import codecs
import os
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path

import msgspec

from fluxgym.errors import StorageFailed
from fluxgym.files import open_for_reading
from fluxgym.protocol.methods import LogsReply
from fluxgymd.api.calls import Send
from fluxgymd.background import lanes
from fluxgymd.core.measures.log_lines import fold
from fluxgymd.jobs.entry import Entry
from fluxgymd.store import holes

CHUNK_BYTES = 64 * 1024
LONGEST_CHARACTER = 4
"""Bytes, in UTF-8."""
CHUNKS_KEPT = 8
FOLLOW_SECONDS = 0.25
"""Between two looks at a log to which nothing is added."""
BUSY_SECONDS = 0.08
"""The same while something is."""

_encoder = msgspec.json.Encoder()


@dataclass(frozen=True, slots=True)
class Chunk:
    """A piece of a log as it is sent, and the offset after it."""

    reply: msgspec.Raw
    end: int
    size: int
    """Bytes of its text."""


class Tail:
    """One log, for all clients that read it at present."""

    def __init__(self, log: Path) -> None:
        self._log = log
        self._kept: OrderedDict[int, Chunk] = OrderedDict()  # by the offset at which they begin
        self._reading: dict[int, asyncio.Task[Chunk | None]] = {}
        self._tick: asyncio.Task[None] | None = None
        self._grew = False
        """Whether something was read since the last tick."""
        self.readers = 0

    async def chunk(self, offset: int) -> Chunk | None:
        """The piece of the log that begins at an offset; None while there is nothing."""
        if (kept := self._kept.get(offset)) is not None:
            return kept
        if (task := self._reading.get(offset)) is None:
            task = self._reading[offset] = asyncio.create_task(self._read(offset), name="log-read")
            task.add_done_callback(lambda _: self._reading.pop(offset, None))
        return await asyncio.shield(task)  # a client that leaves must not cancel it for the others

    async def _read(self, offset: int) -> Chunk | None:
        # A client that catches up reads only up to a kept chunk, and continues with that one. But a chunk may begin
        # within a character, at an offset that some client asked for; then the read must go beyond it.
        size = min((start - offset for start in self._kept if start > offset), default=CHUNK_BYTES)
        reply = await lanes.answer(str(self._log.parent), _read, self._log, offset, size=min(size, CHUNK_BYTES))
        if reply.offset == offset and size < CHUNK_BYTES:
            reply = await lanes.answer(str(self._log.parent), _read, self._log, offset)
        if reply.offset == offset:
            return None
        self._grew = True
        chunk = self._kept[offset] = Chunk(
            msgspec.Raw(_encoder.encode(reply)), reply.offset, len(reply.text.encode())
        )
        if len(self._kept) > CHUNKS_KEPT:
            self._kept.popitem(last=False)
        return chunk

    async def wait(self) -> None:
        """Waits until it is time to look again. All clients look at the same moment, so that one read serves them."""
        if self._tick is None or self._tick.done():
            pause = BUSY_SECONDS if self._grew else FOLLOW_SECONDS
            self._grew = False
            self._tick = asyncio.create_task(asyncio.sleep(pause), name="log-tick")
        await asyncio.shield(self._tick)


class LogStreams:
    def __init__(self) -> None:
        self._tails: dict[Entry, Tail] = {}

    async def stream(
        self, entry: Entry, offset: int, *, follow: bool, send: Send, limit: int | None = None
    ) -> LogsReply:
        """Sends the present content, and with `follow` what is added until the job has ended. Returns the last reply.
        A negative `offset` counts lines from the end. `limit`: ends the stream after this many bytes of text."""
        log = entry.folder.log
        if offset < 0:
            offset = await lanes.answer(str(log.parent), _line_from_end, log, -offset)
        tail = self._tails.setdefault(entry, Tail(log))
        tail.readers += 1
        try:
            while True:
                if limit is not None and limit <= 0:
                    return LogsReply(text="", offset=offset)
                ended = entry.ended  # checked before the read, so that everything written before the end is sent
                chunk = await tail.chunk(offset)
                if chunk is not None and limit is not None and chunk.size > limit:
                    return await lanes.answer(str(log.parent), _read, log, offset, size=max(limit, LONGEST_CHARACTER))
                if chunk is not None:
                    await send(chunk.reply)
                    limit = None if limit is None else limit - chunk.size
                    offset = chunk.end
                elif not follow or ended:
                    return await lanes.answer(str(log.parent), _read, log, offset, last=True)
                else:
                    await tail.wait()
        finally:
            tail.readers -= 1
            if not tail.readers:
                self._tails.pop(entry, None)


def _read(log: Path, offset: int, *, size: int = CHUNK_BYTES, last: bool = False) -> LogsReply:
    """Text from a byte offset on, and the offset after it; for a hole, its length instead of text. An incomplete
    character is left for the next read, unless this is the last read or a hole follows. Bytes that are not UTF-8
    become U+FFFD, and only the last state of a rewritten line remains. Blocks."""
    try:
        with open_for_reading(log) as file:
            descriptor = file.fileno()
            end = os.fstat(descriptor).st_size
            if offset >= end:  # it may even be larger than any file
                return LogsReply(text="", offset=offset)
            begin = holes.data_from(descriptor, offset, size=end)
            if begin > offset:
                return LogsReply(text="", offset=begin, missing=begin - offset)
            stop = holes.data_until(descriptor, offset, size=end)
            data = os.pread(descriptor, min(size, stop - offset), offset)
    except FileNotFoundError:
        return LogsReply(text="", offset=offset)
    except OSError as error:
        raise _unreadable(log, error) from None
    decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
    text = decoder.decode(data, final=last or offset + len(data) == stop < end)
    pending, _ = decoder.getstate()
    return LogsReply(text=fold(text), offset=offset + len(data) - len(pending))


def _line_from_end(log: Path, lines: int) -> int:
    """The offset at which the last `lines` lines begin, or the end of the last hole if that comes later. Blocks."""
    try:
        with open_for_reading(log) as file:
            descriptor = file.fileno()
            end = position = os.fstat(descriptor).st_size
            while position > 0:
                window = max(0, position - CHUNK_BYTES)
                start, stop = holes.last_data(descriptor, window, position)
                if stop < position:
                    return position
                data = os.pread(descriptor, position - start, start)
                # The newline at the end of the file does not begin another line.
                stop = len(data) - 1 if start + len(data) == end and data.endswith(b"\n") else len(data)
                found = data.count(b"\n", 0, stop)
                if found >= lines:
                    for _ in range(lines):
                        stop = data.rfind(b"\n", 0, stop)
                    return start + stop + 1
                if start > window:
                    return start
                lines -= found
                position = start
    except FileNotFoundError:
        pass
    except OSError as error:
        raise _unreadable(log, error) from None
    return 0


def _unreadable(log: Path, error: OSError) -> StorageFailed:
    return StorageFailed(f"{log} cannot be read: {error.strerror or error}.")
