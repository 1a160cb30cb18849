# SPDX-License-Identifier: Apache-2.0
"""The stream of a training log. The cursor is a byte offset, so a client goes on where it was, whatever happened."""

import asyncio
import codecs
import os
from pathlib import Path

from fluxgym.methods import LogsReply
from fluxgymd.api.server import Send
from fluxgymd.core.job import Final
from fluxgymd.engine.book import Entry

CHUNK_BYTES = 64 * 1024
FOLLOW_SECONDS = 0.25


async def stream(entry: Entry, offset: int, *, follow: bool, send: Send) -> LogsReply:
    """Sends what there is, and with `follow` what comes, until the job has ended. Returns the last reply."""
    log = entry.folder.log
    if offset < 0:
        offset = await asyncio.to_thread(_line_from_end, log, -offset)
    while True:
        ended = _ended(entry)  # asked before the read: what was written before the end is still sent
        text, offset = await asyncio.to_thread(_read, log, offset)
        if text:
            await send(LogsReply(text=text, offset=offset))
        elif not follow or ended:
            text, offset = await asyncio.to_thread(_read, log, offset, last=True)
            return LogsReply(text=text, offset=offset)
        else:
            await asyncio.sleep(FOLLOW_SECONDS)


def _ended(entry: Entry) -> bool:
    return entry.damage is not None or entry.job is None or isinstance(entry.job.state, Final)


def _read(log: Path, offset: int, *, last: bool = False) -> tuple[str, int]:
    """Text from a byte offset on, and the offset behind it. A character that is written only in part is left for the
    next read, unless this is the last one; bytes that are no UTF-8 become U+FFFD."""
    try:
        with log.open("rb") as file:
            file.seek(offset)
            data = file.read(CHUNK_BYTES)
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
            position = file.seek(0, os.SEEK_END)
            found = 0
            while position > 0:
                start = max(0, position - CHUNK_BYTES)
                file.seek(start)
                data = file.read(position - start)
                for index in range(len(data) - 1, -1, -1):
                    # The newline that ends the last line begins no line.
                    if data[index] == 0x0A and start + index + 1 < file.seek(0, os.SEEK_END):
                        found += 1
                        if found == lines:
                            return start + index + 1
                position = start
    except OSError:
        pass
    return 0
