# SPDX-License-Identifier: Apache-2.0
"""The stream of a log: a client continues at any byte, characters stay complete, and following ends with the job."""

import asyncio
import os
import tempfile
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fluxgym.protocol.methods import LogsReply
from fluxgymd.api import log_stream
from fluxgymd.api.log_stream import CHUNK_BYTES, LogStreams
from fluxgymd.core.job import fold
from fluxgymd.jobs.entry import Entry
from fluxgymd.store.home import JobFolder
from fluxgymd.store.journal import Journal
from tests.core import histories as h
from tests.harness.waiting import DEADLINE_SECONDS


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

    async def take(self, message: msgspec.Struct | msgspec.Raw) -> None:
        assert isinstance(message, msgspec.Raw)
        reply = msgspec.json.decode(message, type=LogsReply)
        assert reply.text
        self.text += reply.text
        self.offsets.append(reply.offset)
        self.fresh.set()

    async def has(self, text: str) -> None:
        """Waits until the complete text received so far is `text`."""
        async with asyncio.timeout(DEADLINE_SECONDS):
            while self.text != text:
                await self.fresh.wait()
                self.fresh.clear()


async def all_of(entry: Entry, offset: int, *, follow: bool = False) -> Client:
    client = Client()
    last = await LogStreams().stream(entry, offset, follow=follow, send=client.take)
    client.text += last.text
    client.offsets.append(last.offset)
    return client


def read(entry: Entry, offset: int, *, follow: bool = False) -> tuple[str, int]:
    """The text of the log from an offset on, and the offset at which a client would continue."""
    client = asyncio.run(all_of(entry, offset, follow=follow))
    return client.text, client.offsets[-1]


def test_a_log_that_does_not_exist_yet_is_empty(entry: Entry) -> None:
    assert read(entry, 0) == ("", 0)
    assert read(entry, -10) == ("", 0)


def test_a_client_continues_where_it_stopped(entry: Entry) -> None:
    entry.folder.log.write_bytes(b"one\ntwo\n")
    assert read(entry, 0) == ("one\ntwo\n", 8)
    assert read(entry, 4) == ("two\n", 8)
    assert read(entry, 8) == ("", 8)


@pytest.mark.parametrize("offset", [9, 10**6, 2**62, 2**63, 2**80])
def test_nothing_is_read_beyond_the_end(entry: Entry, offset: int) -> None:
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
        # Lines that cross the boundaries of the chunks in which the file is read from its end.
        (b"first\n" + b"x" * (CHUNK_BYTES + 5) + b"\nlast\n", 2, "x" * (CHUNK_BYTES + 5) + "\nlast\n"),
        (b"first\n" + b"x" * (CHUNK_BYTES - 1) + b"\n", 1, "x" * (CHUNK_BYTES - 1) + "\n"),
        (b"first\n" + b"x" * CHUNK_BYTES, 1, "x" * CHUNK_BYTES),
    ],
)
def test_a_negative_offset_counts_lines_from_the_end(entry: Entry, content: bytes, lines: int, text: str) -> None:
    entry.folder.log.write_bytes(content)
    assert read(entry, -lines) == (text, len(content))


def test_a_character_split_between_two_pieces_stays_intact(entry: Entry) -> None:
    text = "x" * (CHUNK_BYTES - 2) + "猫" + "y" * 10  # two of its three bytes are in the first chunk
    entry.folder.log.write_bytes(text.encode())
    client = asyncio.run(all_of(entry, 0))
    assert client.text == text
    assert client.offsets == [CHUNK_BYTES - 2, CHUNK_BYTES + 11, CHUNK_BYTES + 11]


@pytest.mark.parametrize(
    ("content", "offset", "text"),
    [
        ("a猫b".encode(), 2, "\ufffd\ufffdb"),  # in the middle of a character
        (b"a\xffb", 0, "a\ufffdb"),
        (b"ab\xe7\x8c", 0, "ab\ufffd"),  # an incomplete character
    ],
)
def test_bytes_that_are_not_utf8_are_shown_as_such(entry: Entry, content: bytes, offset: int, text: str) -> None:
    entry.folder.log.write_bytes(content)
    assert read(entry, offset) == (text, len(content))


def limited(entry: Entry, offset: int, limit: int) -> LogsReply:
    """A limited stream as one reply."""
    client = Client()
    last = asyncio.run(LogStreams().stream(entry, offset, follow=True, send=client.take, limit=limit))
    return LogsReply(text=client.text + last.text, offset=last.offset)


@pytest.mark.parametrize("limit", [10, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 5, 2 * CHUNK_BYTES])
def test_a_stream_ends_at_its_limit_and_another_continues(entry: Entry, limit: int) -> None:
    content = b"".join(b"line %d\n" % number for number in range(40_000))
    entry.folder.log.write_bytes(content)
    entry.job = fold(h.WAYS["running"])
    first = limited(entry, 0, limit)
    assert first == LogsReply(text=content[:limit].decode(), offset=limit)
    assert limited(entry, limit, 20).text == content[limit : limit + 20].decode()


def test_a_limit_counts_only_the_last_state_of_rewritten_lines(entry: Entry) -> None:
    bar = b"".join(b"\r%d%%" % number for number in range(100_000))
    entry.folder.log.write_bytes(b"begin\n" + bar + b"\r100%\nend\n")
    told = limited(entry, 0, 1000)
    assert told.text.replace("\r", "").startswith("begin\n")
    assert told.text.endswith("100%\nend\n")
    assert len(told.text) < 200


HOLE = 1 << 40
"""Offset at which the log continues after a hole. Reading the hole would take hours."""


def make_hole(log: Path, before: bytes, behind: bytes) -> int:
    """Writes a log with data, a hole and more data; returns the offset of the hole's end."""
    log.write_bytes(before)
    os.truncate(log, HOLE)
    with log.open("ab") as file:
        file.write(behind)
    return HOLE


async def replies(entry: Entry, offset: int) -> list[LogsReply]:
    found: list[LogsReply] = []

    async def take(message: msgspec.Struct | msgspec.Raw) -> None:
        assert isinstance(message, msgspec.Raw)
        found.append(msgspec.json.decode(message, type=LogsReply))

    last = await LogStreams().stream(entry, offset, follow=False, send=take)
    return [*found, last]


def test_a_hole_is_reported_and_not_read(entry: Entry) -> None:
    page = b"x" * 4095 + b"\n"
    make_hole(entry.folder.log, page, b"the end\n")
    assert asyncio.run(replies(entry, 0)) == [
        LogsReply(text=page.decode(), offset=4096),
        LogsReply(text="", offset=HOLE, missing=HOLE - 4096),
        LogsReply(text="the end\n", offset=HOLE + 8),
        LogsReply(text="", offset=HOLE + 8),
    ]


def test_a_character_cut_by_a_hole_does_not_stall_the_stream(entry: Entry) -> None:
    make_hole(entry.folder.log, b"x" * 4095 + "猫".encode()[:1], "猫".encode()[2:] + b"\n")
    text = "".join(reply.text for reply in asyncio.run(replies(entry, 0)))
    assert text == "x" * 4095 + "\ufffd\ufffd\n"


@pytest.mark.parametrize(("lines", "text"), [(1, "c\n"), (3, "a\nb\nc\n"), (4, "a\nb\nc\n"), (10**9, "a\nb\nc\n")])
def test_lines_counted_from_the_end_are_not_taken_from_before_a_hole(entry: Entry, lines: int, text: str) -> None:
    make_hole(entry.folder.log, b"before\n" * 1000, b"a\nb\nc\n")
    assert read(entry, -lines) == (text, HOLE + 6)


def test_a_log_that_ends_in_a_hole_has_no_last_lines(entry: Entry) -> None:
    make_hole(entry.folder.log, b"before\n" * 1000, b"")
    assert read(entry, -3) == ("", HOLE)


def test_following_a_job_that_has_ended_ends(entry: Entry) -> None:
    entry.folder.log.write_bytes(b"done\n")
    assert read(entry, 0, follow=True) == ("done\n", 5)


def test_following_a_damaged_job_ends(entry: Entry) -> None:
    entry.job = fold(h.WAYS["running"])
    entry.damage = "line 4 is not an event"
    assert read(entry, 0, follow=True) == ("", 0)


def test_following_a_running_job_returns_new_output_until_it_ends(entry: Entry) -> None:
    entry.job = fold(h.WAYS["running"])
    log = entry.folder.log

    async def scenario() -> None:
        client = Client()
        following = asyncio.create_task(LogStreams().stream(entry, 0, follow=True, send=client.take))
        log.write_bytes(b"one\n")
        await client.has("one\n")
        with log.open("ab") as file:
            file.write("caf\xe9".encode()[:-1])
            file.flush()
            await client.has("one\ncaf")  # the first half of the character waits for the second
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


class Followers:
    """Many clients that follow the log of one running job, each from its own offset."""

    def __init__(self, entry: Entry, offsets: list[int]) -> None:
        self.clients = [Client() for _ in offsets]
        streams = LogStreams()
        self.tasks = [
            asyncio.create_task(streams.stream(entry, offset, follow=True, send=client.take))
            for offset, client in zip(offsets, self.clients, strict=True)
        ]
        self.streams = streams

    async def texts(self) -> list[str]:
        """The text that each client received, once the job has ended."""
        last = await asyncio.gather(*self.tasks)
        return [client.text + reply.text for client, reply in zip(self.clients, last, strict=True)]


def test_many_followers_read_a_log_once(entry: Entry, monkeypatch: pytest.MonkeyPatch) -> None:
    entry.job = fold(h.WAYS["running"])
    reads: list[int] = []
    read_file = log_stream._read

    def counted(log: Path, offset: int, **how: Any) -> LogsReply:
        reads.append(offset)
        return read_file(log, offset, **how)

    monkeypatch.setattr(log_stream, "_read", counted)

    async def scenario() -> None:
        entry.folder.log.write_bytes(b"")
        followers = Followers(entry, [0] * 50)
        written = ""
        for number in range(5):
            line = f"line {number} " + "x" * 1000 + "\n"
            with entry.folder.log.open("a") as file:
                file.write(line)
            written += line
            for client in followers.clients:
                await client.has(written)
        told = [offset for offset in reads if offset < len(written)]
        assert len(told) <= 3 * len(set(told))
        assert len(set(told)) <= 6
        entry.job = fold(h.WAYS["completed"])
        assert await followers.texts() == [written] * 50
        assert not followers.streams._tails

    asyncio.run(scenario())


def test_a_follower_that_starts_within_a_character_does_not_stop_later_ones(entry: Entry) -> None:
    entry.job = fold(h.WAYS["running"])
    entry.folder.log.write_bytes("a猫b".encode())

    async def scenario() -> None:
        followers = Followers(entry, [2])
        await followers.clients[0].has("\ufffd\ufffdb")
        late = Client()
        task = asyncio.create_task(followers.streams.stream(entry, 0, follow=True, send=late.take))
        await late.has("a猫b")
        entry.job = fold(h.WAYS["completed"])
        await followers.texts()
        await task

    asyncio.run(scenario())


@given(
    st.lists(st.text("ab\n\u00e9\u732b", min_size=1, max_size=40), min_size=1, max_size=6),
    st.lists(st.integers(0, 60), min_size=1, max_size=5),
    st.integers(4, 40),
)
@settings(deadline=None, max_examples=60)
def test_each_of_many_followers_gets_everything_from_where_it_started(
    pieces: list[str], offsets: list[int], chunk: int
) -> None:
    """This holds for any steps in which the log grows, and wherever the others began, even inside a character."""
    with tempfile.TemporaryDirectory() as place, pytest.MonkeyPatch.context() as patch:
        patch.setattr(log_stream, "CHUNK_BYTES", chunk)
        patch.setattr(log_stream, "FOLLOW_SECONDS", 0.0)
        folder = JobFolder(Path(place))
        entry = Entry(folder, fold(h.WAYS["running"]), Journal(folder.journal, 0))
        whole = "".join(pieces).encode()

        async def scenario() -> list[str]:
            folder.log.write_bytes(b"")
            followers = Followers(entry, [min(offset, len(whole)) for offset in offsets])
            for piece in pieces:
                with folder.log.open("ab") as file:
                    file.write(piece.encode())
                await asyncio.sleep(0)
            entry.job = fold(h.WAYS["completed"])
            return await followers.texts()

        expected = [whole[min(offset, len(whole)) :].decode(errors="replace") for offset in offsets]
        assert asyncio.run(scenario()) == expected
