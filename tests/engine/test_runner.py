# SPDX-License-Identifier: Apache-2.0
"""The tasks of the runner over a real book: while one has a job in hand, no second one is started for it."""

import asyncio
import fcntl
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import msgspec
import pytest

from fluxgym import config
from fluxgym.config import Config
from fluxgym.errors import WrongState
from fluxgym.messages import Context, Kind
from fluxgymd.attempts import place
from fluxgymd.attempts.port import AttemptSpec, Gate
from fluxgymd.attempts.process import ProcessAdapter
from fluxgymd.core import events as e
from fluxgymd.core.job import Failed, Live, Lost, Queued
from fluxgymd.core.records import Place, Placement
from fluxgymd.engine import view
from fluxgymd.engine.book import Book
from fluxgymd.engine.runner import Runner
from fluxgymd.engine.scheduler import Scheduler
from fluxgymd.engine.verbs import Verbs
from fluxgymd.store import journal
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
            paused=lambda: False,
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


class PausedMeanwhile(ProcessAdapter):
    """The queue is paused, or the home gets into doubt, while a shim waits at its gate."""

    paused = False
    home_problem: str | None = None
    then: str | None = None
    """What becomes the home's problem; None: the queue is paused."""

    async def place(self, spec: AttemptSpec, gate: Gate) -> Placement:
        placement = await super().place(spec, gate)
        self.paused, self.home_problem = self.then is None, self.then
        return placement


def waiting_program(tmp_path: Path) -> tuple[Book, Config]:
    context = Context(name="my-job", kind=Kind.PROGRAM, program=["/bin/sh", "-c", "touch ran"])
    submitted = e.Submitted(at=1.0, id="0" * 32, context=context, rank=1.0)
    folder = tmp_path / "home" / "outputs" / "my-job"
    folder.mkdir(parents=True)
    (folder / "events.jsonl").write_bytes(e.encode(submitted))
    book = Book(Home(tmp_path / "home"), Writer())
    book.load()
    loaded = config.load({"HOME": str(tmp_path), "XDG_RUNTIME_DIR": str(tmp_path)}, {"home": str(tmp_path / "home")})
    return book, loaded


def run(book: Book, settings: Config, adapter: PausedMeanwhile) -> list[e.AnyEvent]:
    """Starts the job, and tells its journal when no task has it in hand any more."""

    async def scenario() -> None:
        runner = Runner(
            book,
            adapters={"process": adapter},
            chosen="process",
            here=place.here(),
            config=settings,
            paused=lambda: adapter.paused,
            home_problem=lambda: adapter.home_problem,
            done=lambda: None,
        )
        runner.start(book.entry("my-job"), ())
        async with asyncio.timeout(60):
            await runner.settled("my-job")

    asyncio.run(scenario())
    book.writer.close()
    return journal.good_events(book.entry("my-job").folder.journal)


def test_nothing_starts_behind_a_pause_that_came_while_a_shim_waited_at_its_gate(tmp_path: Path) -> None:
    book, settings = waiting_program(tmp_path)
    *_, last = run(book, settings, PausedMeanwhile(stop_limit=1.0))
    assert isinstance(last, e.Ended)
    assert (last.outcome, last.reason) == ("never_started", "The queue was paused before it was started.")
    job = book.sound("my-job")[1]
    assert isinstance(job.state, Queued)
    assert job.start_failures == 0  # it starts at once when the queue goes on
    assert not (book.entry("my-job").folder.path / "ran").exists()


def test_promise_4_nothing_starts_in_a_home_that_is_in_doubt_and_the_pause_is_not_blamed(tmp_path: Path) -> None:
    book, settings = waiting_program(tmp_path)
    adapter = PausedMeanwhile(stop_limit=1.0)
    adapter.then = "Another daemon may take the home."
    *_, last = run(book, settings, adapter)
    assert isinstance(last, e.Ended)
    assert (last.outcome, last.reason) == ("never_started", "Another daemon may take the home.")
    assert not (book.entry("my-job").folder.path / "ran").exists()
    (book := Book(book.home, Writer())).load()
    assert run(book, settings, adapter)[-1] == last, "it is not even reserved"


def test_a_start_that_a_pause_overtakes_is_not_even_reserved(tmp_path: Path) -> None:
    book, settings = waiting_program(tmp_path)
    adapter = PausedMeanwhile(stop_limit=1.0)
    adapter.paused = True
    (only,) = run(book, settings, adapter)
    assert isinstance(only, e.Submitted)


class Nobody(Runner):
    """No attempt is run or watched."""

    def __init__(self) -> None:
        pass

    @property
    def here(self) -> Place:
        return place.here()

    def knows(self, adapter: str) -> bool:
        return adapter == "scope"


class NoPasses(Scheduler):
    """Nothing is decided: what it would be told changes nothing here."""

    def __init__(self) -> None:
        pass

    def ring(self) -> None:
        pass


def test_promise_4_no_word_of_the_user_ends_an_attempt_whose_supervising_process_holds_its_lock(
    tmp_path: Path,
) -> None:
    """It runs in another container, or on another machine whose locks are seen through the volume."""
    folder = tmp_path / "outputs" / "my-lora"
    (folder / "attempts" / "001").mkdir(parents=True)
    (folder / "events.jsonl").write_bytes(b"".join(map(e.encode, h.WAYS["lost"])))
    book = Book(Home(tmp_path), Writer())
    book.load()
    verbs = Verbs(book, Nobody(), NoPasses())
    with (folder / "attempts" / "001" / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(WrongState, match=r"attempt 1 still runs: its supervising process holds .*001/lock"):
            asyncio.run(verbs.resume("my-lora", assume_gone=True))
        assert book.leases() == [("GPU-1",)]
    asyncio.run(verbs.resume("my-lora", assume_gone=True))
    book.writer.close()
    assert book.leases() == []


def test_promise_4_an_attempt_of_an_unknown_adapter_is_lost_and_keeps_its_gpu_until_it_is_disowned(
    tmp_path: Path,
) -> None:
    """Of a newer version, which knows Slurm, or of one that was built with more."""
    book, settings = waiting_program(tmp_path)
    folder = tmp_path / "home" / "outputs" / "my-lora"
    folder.mkdir()
    reservation = msgspec.structs.replace(h.reserved(), adapter="slurm", place=place.here())
    events = [reservation if isinstance(event, e.Reserved) else event for event in h.WAYS["running"]]
    (folder / "events.jsonl").write_bytes(b"".join(map(e.encode, events)))
    book = Book(book.home, Writer())
    book.load()

    async def scenario() -> None:
        runner = Runner(
            book,
            adapters={"process": ProcessAdapter(stop_limit=1.0)},
            chosen="process",
            here=place.here(),
            config=settings,
            paused=lambda: False,
            done=lambda: None,
        )
        entry = book.entry("my-lora")
        runner.adopt(entry)
        runner.start(book.entry("my-job"), ())
        async with asyncio.timeout(60):
            await runner.settled("my-job")
            while not isinstance(entry.job and entry.job.state, Lost):
                await book.hub.wait(book.hub.revision.number)
            assert book.leases() == [("GPU-1",)]
            reason = view.show(entry).runtime.reason
            assert reason is not None
            assert "attempt 1 was run by the adapter 'slurm', which this version of FluxGym does not know" in reason
            await Verbs(book, runner, NoPasses()).resume("my-lora", assume_gone=True)
            await runner.settled("my-lora")
        assert book.leases() == []
        await runner.close()

    asyncio.run(scenario())
    book.writer.close()
    assert isinstance(book.sound("my-job")[1].state, Failed)  # it ran: it wrote no result
    kinds = [type(event) for event in journal.good_events(folder / "events.jsonl")]
    assert kinds == [*map(type, events), e.SightLost, e.Disowned]
