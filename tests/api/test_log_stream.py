# SPDX-License-Identifier: Apache-2.0
"""The stream of a log: a client goes on at a byte, characters stay whole, and following ends with the job."""

import asyncio
from pathlib import Path

import msgspec
import pytest

from fluxgym.methods import LogsReply
from fluxgymd.api import log_stream
from fluxgymd.api.log_stream import CHUNK_BYTES
from fluxgymd.core.job import fold
from fluxgymd.engine.book import Entry
from fluxgymd.store.home import JobFolder
from fluxgymd.store.journal import Journal
from tests.core import histories as h


@pytest.fixture
def entry(tmp_path: Path) -> Entry:
    """A job that has ended, with an empty folder."""
    folder = JobFolder(tmp_path)
    return Entry(folder, fold(h.WAYS["completed"]), Journal(folder.journal, 0))


class Client:
    """Gathers the replies of a stream; sets an event at each."""

    def __init__(self) -> None:
        self.text = ""
        self.offsets: list[int] = []
        self.fresh = asyncio.Event()

    async def take(self, reply: msgspec.Struct) -> None:
        assert isinstance(reply, LogsReply)
        assert reply.text
        self.text += reply.text
        self.offsets.append(reply.offset)
        self.fresh.set()

    async def has(self, text: str) -> None:
        """Waits until the text so far is this one."""
        async with asyncio.timeout(60):
            while self.text != text:
                await self.fresh.wait()
                self.fresh.clear()


async def all_of(entry: Entry, offset: int, *, follow: bool = False) -> Client:
    client = Client()
    last = await log_stream.stream(entry, offset, follow=follow, send=client.take)
    client.text += last.text
    client.offsets.append(last.offset)
    return client


def read(entry: Entry, offset: int, *, follow: bool = False) -> tuple[str, int]:
    """The whole text from an offset on, and where a client would go on."""
    client = asyncio.run(all_of(entry, offset, follow=follow))
    return client.text, client.offsets[-1]


def test_a_log_that_is_not_there_yet_is_empty(entry: Entry) -> None:
    assert read(entry, 0) == ("", 0)
    assert read(entry, -10) == ("", 0)


def test_a_client_goes_on_where_it_was(entry: Entry) -> None:
    entry.folder.log.write_bytes(b"one\ntwo\n")
    assert read(entry, 0) == ("one\ntwo\n", 8)
    assert read(entry, 4) == ("two\n", 8)
    assert read(entry, 8) == ("", 8)


@pytest.mark.parametrize("offset", [9, 10**6, 2**62, 2**63, 2**80])
def test_behind_the_end_there_is_nothing(entry: Entry, offset: int) -> None:
    entry.folder.log.write_bytes(b"one\ntwo\n")
    assert read(entry, offset) == ("", offset)


@pytest.mark.parametrize(
    ("content", "lines", "text"),
    [
        (b"one\ntwo\nthree\n", 1, "three\n"),
        (b"one\ntwo\nthree\n", 2, "two\nthree\n"),
        (b"one\ntwo\nthree\n", 3, "one\ntwo\nthree\n"),
        (b"one\ntwo\nthree\n", 99, "one\ntwo\nthree\n"),
        (b"one\ntwo\nthr", 1, "thr"),
        (b"one\ntwo\nthr", 2, "two\nthr"),
        (b"one\n\n\n", 2, "\n\n"),
        (b"\n", 1, "\n"),
        (b"", 1, ""),
        (b"one", 2**70, "one"),
        # Lines that lie across the pieces in which the file is read from its end.
        (b"first\n" + b"x" * (CHUNK_BYTES + 5) + b"\nlast\n", 2, "x" * (CHUNK_BYTES + 5) + "\nlast\n"),
        (b"first\n" + b"x" * (CHUNK_BYTES - 1) + b"\n", 1, "x" * (CHUNK_BYTES - 1) + "\n"),
        (b"first\n" + b"x" * CHUNK_BYTES, 1, "x" * CHUNK_BYTES),
    ],
)
def test_a_negative_offset_counts_lines_from_the_end(entry: Entry, content: bytes, lines: int, text: str) -> None:
    entry.folder.log.write_bytes(content)
    assert read(entry, -lines) == (text, len(content))


def test_a_character_across_two_pieces_stays_whole(entry: Entry) -> None:
    text = "x" * (CHUNK_BYTES - 2) + "猫" + "y" * 10  # two of its three bytes in the first piece
    entry.folder.log.write_bytes(text.encode())
    client = asyncio.run(all_of(entry, 0))
    assert client.text == text
    assert client.offsets == [CHUNK_BYTES - 2, CHUNK_BYTES + 11, CHUNK_BYTES + 11]


@pytest.mark.parametrize(
    ("content", "offset", "text"),
    [
        ("a猫b".encode(), 2, "\ufffd\ufffdb"),  # in the middle of a character
        (b"a\xffb", 0, "a\ufffdb"),
        (b"ab\xe7\x8c", 0, "ab\ufffd"),  # a character that was never finished
    ],
)
def test_bytes_that_are_no_utf8_are_shown_as_such(entry: Entry, content: bytes, offset: int, text: str) -> None:
    entry.folder.log.write_bytes(content)
    assert read(entry, offset) == (text, len(content))


def test_following_a_job_that_has_ended_ends(entry: Entry) -> None:
    entry.folder.log.write_bytes(b"done\n")
    assert read(entry, 0, follow=True) == ("done\n", 5)


def test_following_a_damaged_job_ends(entry: Entry) -> None:
    entry.job = fold(h.WAYS["running"])
    entry.damage = "line 4 is no event"
    assert read(entry, 0, follow=True) == ("", 0)


def test_following_a_running_job_tells_what_comes_until_it_ends(entry: Entry) -> None:
    entry.job = fold(h.WAYS["running"])
    log = entry.folder.log

    async def scenario() -> None:
        client = Client()
        following = asyncio.create_task(log_stream.stream(entry, 0, follow=True, send=client.take))
        log.write_bytes(b"one\n")
        await client.has("one\n")
        with log.open("ab") as file:
            file.write("caf\xe9".encode()[:-1])
            file.flush()
            await client.has("one\ncaf")  # the half character waits for its other half
            file.write("\xe9\n".encode()[1:])
            file.flush()
            await client.has("one\ncaf\xe9\n")
            assert not following.done()
            file.write(b"the end\n")
        entry.job = fold(h.WAYS["completed"])
        last = await following
        assert client.text + last.text == "one\ncaf\xe9\nthe end\n"
        assert last.offset == log.stat().st_size

    asyncio.run(scenario())
