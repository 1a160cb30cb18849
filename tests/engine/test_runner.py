# SPDX-License-Identifier: Apache-2.0
"""The tasks of the runner over a real book: while one has a job in hand, no second one is started for it."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import msgspec
import pytest

from fluxgym import config
from fluxgymd.attempts import place
from fluxgymd.attempts.process import ProcessAdapter
from fluxgymd.core import events as e
from fluxgymd.core.job import Live
from fluxgymd.engine.book import Book
from fluxgymd.engine.runner import Runner
from fluxgymd.store.home import Home
from fluxgymd.store.writer import Writer
from tests.core import histories as h

T = TypeVar("T")


class SlowWriter(Writer):
    """A disk that takes its time for everything after the event of an end."""

    def __init__(self, journal: Path) -> None:
        super().__init__()
        self._journal = journal
        self.stalled = asyncio.Event()

    async def run(self, work: Callable[[], T]) -> T:
        if b'"ended"' in self._journal.read_bytes():
            await self.stalled.wait()
        return await super().run(work)


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """A job that was started on a GPU in a container which is gone."""
    before = msgspec.structs.replace(place.here(), pid_namespace="pid:[1]")
    reservation = msgspec.structs.replace(h.reserved(), adapter="process", place=before)
    history = [reservation if isinstance(event, e.Reserved) else event for event in h.WAYS["running"]]
    folder = tmp_path / "home" / "outputs" / "my-lora"
    (folder / "attempts" / "001").mkdir(parents=True)
    (folder / "events.jsonl").write_bytes(b"".join(map(e.encode, history)))
    return Home(tmp_path / "home")


def test_promise_4_a_job_whose_end_is_still_being_written_down_is_not_started_by_a_second_task(
    home: Home, tmp_path: Path
) -> None:
    """Two tasks of one job would take each other's promise of a GPU away."""
    writer = SlowWriter(home.folder("my-lora").journal)
    book = Book(home, writer)
    book.load()
    loaded = config.load({"HOME": str(tmp_path), "XDG_RUNTIME_DIR": str(tmp_path)}, {"home": str(tmp_path / "home")})

    async def scenario() -> None:
        rung = asyncio.Event()
        runner = Runner(
            book,
            adapters={"process": ProcessAdapter(stop_limit=1.0)},
            chosen="process",
            here=place.here(),
            config=loaded,
            done=rung.set,
        )
        entry = book.entry("my-lora")
        runner.adopt(entry)
        assert runner.starting() == {}  # it runs, as far as the journal tells
        async with asyncio.timeout(60):
            while isinstance(entry.job and entry.job.state, Live):
                await book.hub.wait(book.hub.revision.number)
            assert runner.busy("my-lora")
            assert runner.starting() == {"my-lora": ()}
            writer.stalled.set()
            await runner.settled("my-lora")
        assert rung.is_set()
        assert runner.starting() == {}

    asyncio.run(scenario())
    writer.close()
