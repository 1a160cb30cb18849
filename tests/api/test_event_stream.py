# SPDX-License-Identifier: Apache-2.0
"""The events of all jobs: complete, in each job's order, and resumable from a cursor with any later daemon."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from fluxgym.protocol.event_methods import EventsParameters, EventsReply
from fluxgymd.api.event_stream import EventStreams
from fluxgymd.core.journal import events as e
from fluxgymd.core.journal.event_cursor import LISTED
from fluxgymd.core.journal.history import sentence
from fluxgymd.jobs import feed, loading
from fluxgymd.jobs.registry import Registry
from fluxgymd.store import journal
from tests.core import histories as h
from tests.harness.waiting import DEADLINE_SECONDS
from tests.jobs.journals import encoded, load, put

HELD = h.WAYS["held"]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    for name in ("a", "b"):
        put(tmp_path, name, encoded(name, HELD))
    return tmp_path


def run(scenario: Coroutine[Any, Any, None]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(DEADLINE_SECONDS):
            await scenario

    asyncio.run(bounded())


async def ask(registry: Registry, **parameters: Any) -> list[EventsReply]:
    """All replies of a finite stream."""
    replies: list[EventsReply] = []

    async def send(reply: Any) -> None:
        replies.append(reply)

    replies.append(await EventStreams(registry).events(EventsParameters(**parameters), send))
    return replies


def told(replies: list[EventsReply]) -> list[tuple[str, str]]:
    return [(reply.event.job, reply.event.text) for reply in replies if reply.event is not None]


async def cursor(registry: Registry, **parameters: Any) -> str:
    """The present cursor."""
    followed = Followed(registry, **parameters)
    reply = await followed.next()
    followed.close()
    assert (reply.event, reply.reset) == (None, None)
    assert reply.cursor is not None
    return reply.cursor


class Followed:
    """A client that follows the events and reads one reply at a time."""

    def __init__(self, registry: Registry, **parameters: Any) -> None:
        self._replies: asyncio.Queue[EventsReply] = asyncio.Queue(maxsize=1)
        asked = EventsParameters(follow=True, **parameters)
        self._task = asyncio.create_task(EventStreams(registry).events(asked, self._put))

    async def _put(self, reply: Any) -> None:
        await self._replies.put(reply)

    async def next(self) -> EventsReply:
        async with asyncio.timeout(DEADLINE_SECONDS):
            return await self._replies.get()

    async def end(self) -> EventsReply:
        """The last reply."""
        return await self._task

    def close(self) -> None:
        self._task.cancel()


def texts(*events: e.AnyEvent) -> list[str]:
    return [sentence(event) for event in events]


def test_without_a_cursor_all_events_come_the_oldest_job_first(home: Path) -> None:
    async def scenario() -> None:
        replies = await ask(load(home))
        assert told(replies) == [(name, text) for name in ("a", "b") for text in texts(*HELD)]
        assert [reply.cursor is not None for reply in replies] == [False, False, False, True]
        assert told(await ask(load(home), name="b")) == [("b", text) for text in texts(*HELD)]
        assert told(await ask(load(home), after=replies[-1].cursor)) == []

    run(scenario())


def test_events_are_followed_in_the_order_in_which_they_are_recorded(home: Path) -> None:
    async def scenario() -> None:
        registry = load(home)
        everything, one = Followed(registry), Followed(registry, name="a")
        assert (await everything.next()).event is None
        assert (await one.next()).event is None
        for name, event in (("a", h.RELEASED), ("b", h.RELEASED), ("a", h.HELD)):
            await registry.record(registry.entry(name), event)
        seen = [await everything.next() for _ in range(3)]
        assert told(seen) == [("a", "It was released."), ("b", "It was released."), ("a", "It was put on hold.")]
        assert told([await one.next(), await one.next()]) == [("a", "It was released."), ("a", "It was put on hold.")]
        assert seen[-1].cursor is not None
        assert told(await ask(registry, after=seen[-1].cursor)) == []
        everything.close()
        one.close()

    run(scenario())


def test_a_submit_is_an_event(home: Path) -> None:
    async def scenario() -> None:
        registry = load(home)
        followed = Followed(registry)
        before = (await followed.next()).cursor
        put(home, "c", encoded("c", HELD))
        folder = registry.home.folder("c")
        registry.add(folder, loading.read(folder))
        first, second = await followed.next(), await followed.next()
        assert told([first, second]) == [("c", text) for text in texts(*HELD)]
        assert (first.cursor, second.cursor is None) == (None, False), "a cursor never splits what is read at once"
        assert told(await ask(registry, after=before)) == [("c", text) for text in texts(*HELD)]
        followed.close()

    run(scenario())


def test_the_events_of_one_job_end_with_it(home: Path) -> None:
    async def scenario() -> None:
        registry = load(home)
        followed = Followed(registry, name="a")
        await followed.next()
        await registry.remove(registry.entry("a"), lambda _: None)
        last = await followed.end()
        assert (last.event, last.reset) == (None, None)

    run(scenario())


def test_a_cursor_is_understood_by_the_next_daemon(home: Path) -> None:
    async def scenario() -> None:
        first = load(home)
        before = await cursor(first)
        await first.record(first.entry("b"), h.RELEASED)
        await first.record(first.entry("b"), h.HELD)
        later = await cursor(first)
        first.writer.close()
        second = load(home)
        assert told(await ask(second, after=later)) == []
        replies = await ask(second, after=before)
        assert told(replies) == [("b", "It was released."), ("b", "It was put on hold.")]
        await second.record(second.entry("a"), h.RELEASED)
        third = load(home)
        assert told(await ask(third, after=replies[-1].cursor)) == [("a", "It was released.")]
        assert sorted(told(await ask(third, after=before))) == sorted([*told(replies), ("a", "It was released.")])

    run(scenario())


@pytest.fixture
def many(tmp_path: Path) -> Path:
    """More jobs than a cursor lists: only the newest `LISTED` are listed."""
    for number in range(LISTED + 50):
        name = f"job-{number:04d}"
        put(tmp_path, name, encoded(name, h.WAYS["completed"]))
    return tmp_path


OLDEST, NEWEST = "job-0000", f"job-{LISTED + 49:04d}"


def append(home: Path, name: str, event: e.AnyEvent) -> None:
    """Acts like a daemon that the client never talks to."""
    with (home / "outputs" / name / "events.jsonl").open("ab") as file:
        file.write(e.encode(event))


def test_only_journals_that_have_grown_are_read(many: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario() -> None:
        before = await cursor(load(many))
        assert len(before) < 8192
        append(many, NEWEST, h.RESUME_ASKED)
        registry = load(many)
        read: list[str] = []
        really = journal.events_between

        def noted(path: Path, begin: int, end: int) -> list[e.AnyEvent] | None:
            read.append(path.parent.name)
            return really(path, begin, end)

        monkeypatch.setattr(journal, "events_between", noted)
        assert told(await ask(registry, after=before)) == [(NEWEST, "It was queued again.")]
        assert read == [NEWEST]

    run(scenario())


def shorter(home: Path) -> None:
    path = home / "outputs" / NEWEST / "events.jsonl"
    path.write_bytes(path.read_bytes().splitlines(keepends=True)[0])


def another(home: Path) -> None:
    """A journal of another length: the old one ends within one of its lines."""
    put_again(home, NEWEST, [h.submitted(name=NEWEST, rank=1.25), *h.WAYS["completed"][1:]])


def put_again(home: Path, name: str, history: list[e.AnyEvent]) -> None:
    shutil.rmtree(home / "outputs" / name)
    put(home, name, [e.encode(event) for event in history])


def append_bytes(home: Path, name: str, data: bytes) -> None:
    with (home / "outputs" / name / "events.jsonl").open("ab") as file:
        file.write(data)


def put_back(home: Path) -> None:
    put(home, "restored", encoded("restored", h.WAYS["completed"]))


UNTELLABLE: dict[str, Callable[[Path], None]] = {
    "a job that is not listed has changed": lambda home: append(home, OLDEST, h.RESUME_ASKED),
    "a job that is not listed was removed": lambda home: shutil.rmtree(home / "outputs" / OLDEST),
    "a job that is listed was removed": lambda home: shutil.rmtree(home / "outputs" / NEWEST),
    "a journal was replaced by an older copy": shorter,
    "a journal was replaced by another one": another,
    "a journal was damaged": lambda home: append_bytes(home, NEWEST, b"garbage\n"),
    "an old job came back": put_back,
}


@pytest.mark.parametrize("why", UNTELLABLE)
def test_a_client_starts_over_if_events_are_unknown(many: Path, why: str) -> None:
    async def scenario() -> None:
        before = await cursor(load(many))
        UNTELLABLE[why](many)
        registry = load(many)
        (reply,) = await ask(registry, after=before)
        assert (reply.event, reply.reset) == (None, True)
        await registry.record(registry.entry("job-0001"), h.RESUME_ASKED)
        assert told(await ask(registry, after=reply.cursor)) == [("job-0001", "It was queued again.")]

    run(scenario())


def test_a_client_of_one_job_is_not_affected_by_other_jobs(many: Path) -> None:
    async def scenario() -> None:
        before = await cursor(load(many), name=OLDEST)
        append(many, OLDEST, h.RESUME_ASKED)
        append(many, "job-0001", h.RESUME_ASKED)
        assert told(await ask(load(many), after=before, name=OLDEST)) == [(OLDEST, "It was queued again.")]

    run(scenario())


@pytest.mark.parametrize("garbage", ["", "x", "é", "A" * 10_000, "\0"])
def test_a_client_with_an_invalid_cursor_starts_over(home: Path, garbage: str) -> None:
    async def scenario() -> None:
        (reply,) = await ask(load(home), after=garbage)
        assert reply.reset

    run(scenario())


def test_a_slow_client_misses_nothing_and_costs_no_memory(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feed, "KEPT", 4)

    async def scenario() -> None:
        registry = load(home)
        followed = Followed(registry)
        await followed.next()
        for _ in range(10):
            for event in (h.RELEASED, h.HELD):
                await registry.record(registry.entry("a"), event)
        seen = told([await followed.next() for _ in range(20)])
        assert seen == [("a", "It was released."), ("a", "It was put on hold.")] * 10
        followed.close()

    run(scenario())


def test_an_event_that_is_being_written_is_not_before_the_cursor(home: Path) -> None:
    async def scenario() -> None:
        registry = load(home)
        entry = registry.entry("a")
        entry.journal.append(h.RELEASED)  # as a writer thread does, before the job in memory changes
        before = await cursor(registry)
        assert told(await ask(load(home), after=before)) == [("a", "It was released.")]

    run(scenario())


def test_a_damaged_job_has_no_events(home: Path) -> None:
    append_bytes(home, "b", b"garbage\n")

    async def scenario() -> None:
        registry = load(home)
        assert {job for job, _ in told(await ask(registry))} == {"a"}
        assert told(await ask(registry, name="b")) == []
        before = await cursor(registry, name="b")
        await registry.record(registry.entry("a"), h.RELEASED)
        assert told(await ask(registry, name="b", after=before)) == []

    run(scenario())
