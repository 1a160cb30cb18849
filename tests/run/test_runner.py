# SPDX-License-Identifier: Apache-2.0
"""The runner's tasks over a real registry: while one of them works on a job, no second one is started for it."""

import asyncio
import fcntl
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

import msgspec
import pytest

from fluxgym import config
from fluxgym.config import Config
from fluxgym.errors import StorageFailed, WrongState
from fluxgym.protocol.messages import Context, Kind, State
from fluxgymd.attempts import place
from fluxgymd.attempts.port import AttemptRef, AttemptSpec, Gate
from fluxgymd.attempts.process import ProcessAdapter
from fluxgymd.core.evidence import Evidence
from fluxgymd.core.job import Attempt, Failed, Live, Lost, Queued
from fluxgymd.core.journal import events as e
from fluxgymd.core.journal.records import Placement
from fluxgymd.core.lost import Reach
from fluxgymd.gpus.machine import Gpus
from fluxgymd.jobs import view
from fluxgymd.jobs.entry import RefusedStop
from fluxgymd.jobs.faults import ATTEMPT
from fluxgymd.jobs.registry import Registry
from fluxgymd.requests.copying import Copier
from fluxgymd.requests.takeover import Takeover
from fluxgymd.requests.verbs import Verbs
from fluxgymd.run.attempt_adapters import AttemptAdapters
from fluxgymd.run.ending import end_event
from fluxgymd.run.preflight import Preflight
from fluxgymd.run.resuming import Origin, Outlook
from fluxgymd.run.runner import Runner
from fluxgymd.run.scheduler import Scheduler
from fluxgymd.run.starting import Starter
from fluxgymd.run.watching import Watcher
from fluxgymd.store import journal
from fluxgymd.store.home import Home, JobFolder
from fluxgymd.store.writer import Writer
from fluxgymd.trainers.choice import Trainers
from fluxgymd.watchdog.watch import Watch
from tests.core import histories as h
from tests.harness.waiting import DEADLINE_SECONDS, until_async
from tests.trainers.adapters import trainers

T = TypeVar("T")


def runner_of(
    registry: Registry,
    settings: Config,
    adapter: ProcessAdapter | None = None,
    *,
    paused: Callable[[], bool] = lambda: False,
    home_problem: Callable[[], str | None] = lambda: None,
    done: Callable[[], None] = lambda: None,
) -> Runner:
    adapters = AttemptAdapters(
        by_name={"process": adapter or ProcessAdapter(stop_limit=1.0)}, chosen="process", here=place.here()
    )
    known = Trainers(settings)
    return Runner(
        registry,
        adapters,
        known,
        Starter(registry, adapters, settings, known, paused=paused, home_problem=home_problem),
        Watcher(registry, known, settings),
        done=done,
    )


class SlowWriter(Writer):
    """Holds up everything after the event of an end, like a slow disk."""

    def __init__(self, journal: Path) -> None:
        super().__init__()
        self._journal = journal
        self.stalled = asyncio.Event()

    async def run(self, work: Callable[[], T]) -> T:
        if b'"ended"' in self._journal.read_bytes():
            async with asyncio.timeout(DEADLINE_SECONDS):
                await self.stalled.wait()
        return await super().run(work)


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """A home with a job that was started on a GPU in a container that no longer exists."""
    before = msgspec.structs.replace(place.here(), pid_namespace="pid:[1]")
    reservation = msgspec.structs.replace(h.reserved(), adapter="process", place=before)
    history = [reservation if isinstance(event, e.Reserved) else event for event in h.WAYS["running"]]
    folder = tmp_path / "home" / "outputs" / "my-lora"
    (folder / "attempts" / "001").mkdir(parents=True)
    (folder / "events.jsonl").write_bytes(b"".join(map(e.encode, history)))
    return Home(tmp_path / "home")


def test_promise_4_a_job_whose_end_is_still_being_recorded_is_not_started_by_a_second_task(
    home: Home, tmp_path: Path
) -> None:
    """If a job had two tasks, the end of one would release the GPU that was promised to the other."""
    writer = SlowWriter(home.folder("my-lora").journal)
    registry = Registry(home, writer)
    registry.load()
    loaded = config.load({"HOME": str(tmp_path), "XDG_RUNTIME_DIR": str(tmp_path)}, {"home": str(tmp_path / "home")})

    async def scenario() -> None:
        rung = asyncio.Event()
        runner = runner_of(registry, loaded, done=rung.set)
        entry = registry.entry("my-lora")
        runner.adopt(entry)
        assert runner.starting() == {}  # according to the journal the job runs
        async with asyncio.timeout(DEADLINE_SECONDS):
            while isinstance(entry.job and entry.job.state, Live):
                await registry.changes.wait(registry.changes.revision.number)
            assert runner.busy("my-lora")
            assert runner.starting() == {"my-lora": ()}
            writer.stalled.set()
            await runner.settled("my-lora")
        assert rung.is_set()
        assert runner.starting() == {}

    asyncio.run(scenario())
    writer.close()


class PausedMeanwhile(ProcessAdapter):
    """Pauses the queue, or gives the home a problem, while a shim waits at its gate."""

    paused = False
    home_problem: str | None = None
    then: str | None = None
    """The home's problem; None: the queue is paused instead."""

    cleared = 0

    async def clear(self, ref: AttemptRef) -> None:
        await super().clear(ref)
        self.cleared += 1

    async def place(self, spec: AttemptSpec, gate: Gate) -> Placement:
        placement = await super().place(spec, gate)
        self.paused, self.home_problem = self.then is None, self.then
        return placement


def waiting_program(tmp_path: Path) -> tuple[Registry, Config]:
    context = Context(name="my-job", kind=Kind.PROGRAM, program=["/bin/sh", "-c", "touch ran"])
    submitted = e.Submitted(at=1.0, id="0" * 32, context=context, rank=1.0)
    folder = tmp_path / "home" / "outputs" / "my-job"
    folder.mkdir(parents=True)
    (folder / "events.jsonl").write_bytes(e.encode(submitted))
    registry = Registry(Home(tmp_path / "home"), Writer())
    registry.load()
    loaded = config.load({"HOME": str(tmp_path), "XDG_RUNTIME_DIR": str(tmp_path)}, {"home": str(tmp_path / "home")})
    return registry, loaded


def run(registry: Registry, settings: Config, adapter: PausedMeanwhile) -> list[e.AnyEvent]:
    """Starts the job and returns its journal's events once no task works on it any more."""

    async def scenario() -> None:
        runner = runner_of(
            registry, settings, adapter, paused=lambda: adapter.paused, home_problem=lambda: adapter.home_problem
        )
        runner.start(registry.entry("my-job"), ())
        async with asyncio.timeout(DEADLINE_SECONDS):
            await runner.settled("my-job")

    asyncio.run(scenario())
    registry.writer.close()
    return journal.good_events(registry.entry("my-job").folder.journal)


def test_nothing_starts_after_a_pause_that_came_while_a_shim_waited_at_its_gate(tmp_path: Path) -> None:
    registry, settings = waiting_program(tmp_path)
    adapter = PausedMeanwhile(stop_limit=1.0)
    *_, last = run(registry, settings, adapter)
    assert isinstance(last, e.Ended)
    assert (last.outcome, last.reason) == ("never_started", "The queue was paused before the job was started.")
    assert adapter.cleared == 1, "a scope without a process would stay"
    job = registry.sound("my-job")[1]
    assert isinstance(job.state, Queued)
    assert job.start_failures == 0  # it will start as soon as the queue continues
    assert not (registry.entry("my-job").folder.path / "ran").exists()


def test_promise_4_nothing_starts_in_a_home_that_is_in_doubt_and_the_pause_is_not_blamed(tmp_path: Path) -> None:
    registry, settings = waiting_program(tmp_path)
    adapter = PausedMeanwhile(stop_limit=1.0)
    adapter.then = "Another daemon may take the home."
    *_, last = run(registry, settings, adapter)
    assert isinstance(last, e.Ended)
    assert (last.outcome, last.reason) == ("never_started", "Another daemon may take the home.")
    assert not (registry.entry("my-job").folder.path / "ran").exists()
    (registry := Registry(registry.home, Writer())).load()
    assert run(registry, settings, adapter)[-1] == last, "it is not even reserved"


class StoppedMeanwhile(PausedMeanwhile):
    """Simulates a stop that couldn't be recorded, while a shim waits at its gate."""

    def __init__(self, registry: Registry) -> None:
        super().__init__(stop_limit=1.0)
        self._registry = registry

    async def place(self, spec: AttemptSpec, gate: Gate) -> Placement:
        placement = await ProcessAdapter.place(self, spec, gate)
        self._registry.entry("my-job").now.refused_stop = RefusedStop(1, "The disk is full.")
        return placement


def test_the_gate_stays_closed_after_a_stop_that_no_disk_recorded(tmp_path: Path) -> None:
    registry, settings = waiting_program(tmp_path)
    *_, last = run(registry, settings, StoppedMeanwhile(registry))
    assert isinstance(last, e.Ended)
    assert (last.outcome, last.reason, last.again) == ("stopped", "It was stopped before it ran.", False)
    assert not (registry.entry("my-job").folder.path / "ran").exists()


def test_a_stop_that_no_disk_recorded_while_the_end_was_judged_prevents_a_retry(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry, settings = waiting_program(tmp_path)

    def stop_comes(*given: object, **facts: object) -> e.Ended:
        event = end_event(*given, **facts)  # type: ignore[arg-type]
        registry.entry("my-job").now.refused_stop = RefusedStop(1, "The disk is full.")
        return event

    monkeypatch.setattr("fluxgymd.run.runner.end_event", stop_comes)
    *_, last = run(registry, settings, PausedMeanwhile(stop_limit=1.0))
    assert isinstance(last, e.Ended)
    assert (last.outcome, last.again) == ("stopped", False)
    assert registry.entry("my-job").now.refused_stop is None


def test_a_start_that_a_pause_overtakes_is_not_even_reserved(tmp_path: Path) -> None:
    registry, settings = waiting_program(tmp_path)
    adapter = PausedMeanwhile(stop_limit=1.0)
    adapter.paused = True
    (only,) = run(registry, settings, adapter)
    assert isinstance(only, e.Submitted)


class Nobody(Runner):
    """A runner that neither runs nor watches attempts."""

    def __init__(self) -> None:
        pass

    def reach(self, attempt: Attempt) -> Reach:
        return Reach.HERE if attempt.place == place.here() else Reach.ELSEWHERE


class NoPasses(Scheduler):
    """A scheduler that decides nothing: these tests don't depend on its decisions."""

    def __init__(self) -> None:
        pass

    def request_pass(self) -> None:
        pass


def verbs_of(registry: Registry, runner: Runner) -> Verbs:
    known = trainers()
    preflight = Preflight(registry, known, Gpus())
    return Verbs(
        registry, runner, NoPasses(), preflight, known, Takeover(registry, preflight, known, Copier()).record
    )


def test_promise_4_no_assertion_of_the_user_ends_an_attempt_whose_shim_holds_its_lock(
    tmp_path: Path,
) -> None:
    """The attempt runs in another container, or on another machine whose locks are visible through the volume."""
    folder = tmp_path / "outputs" / "my-lora"
    (folder / "attempts" / "001").mkdir(parents=True)
    (folder / "events.jsonl").write_bytes(b"".join(map(e.encode, h.WAYS["lost"])))
    registry = Registry(Home(tmp_path), Writer())
    registry.load()
    verbs = verbs_of(registry, Nobody())
    with (folder / "attempts" / "001" / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(
            WrongState, match=r"attempt 1 still runs elsewhere, so stop it there: .* holds .*001/lock"
        ):
            asyncio.run(verbs.resume("my-lora", assume_gone=True))
        assert registry.leases() == [("GPU-1",)]
    asyncio.run(verbs.resume("my-lora", assume_gone=True))
    registry.writer.close()
    assert registry.leases() == []


def test_promise_4_an_attempt_of_an_unknown_adapter_is_lost_and_keeps_its_gpu_until_it_is_disowned(
    tmp_path: Path,
) -> None:
    """The adapter may belong to a newer version, for example one that supports Slurm, or to a build with more
    adapters."""
    registry, settings = waiting_program(tmp_path)
    folder = tmp_path / "home" / "outputs" / "my-lora"
    folder.mkdir()
    reservation = msgspec.structs.replace(h.reserved(), adapter="slurm", place=place.here())
    events = [reservation if isinstance(event, e.Reserved) else event for event in h.WAYS["running"]]
    (folder / "events.jsonl").write_bytes(b"".join(map(e.encode, events)))
    registry = Registry(registry.home, Writer())
    registry.load()

    async def scenario() -> None:
        runner = runner_of(registry, settings)
        entry = registry.entry("my-lora")
        runner.adopt(entry)
        runner.start(registry.entry("my-job"), ())
        async with asyncio.timeout(DEADLINE_SECONDS):
            await runner.settled("my-job")
            while not isinstance(entry.job and entry.job.state, Lost):
                await registry.changes.wait(registry.changes.revision.number)
            assert registry.leases() == [("GPU-1",)]
            reason = view.show(entry).runtime.reason
            assert reason is not None
            assert "attempt 1 was run by the adapter 'slurm', which this version of FluxGym does not know" in reason
            await verbs_of(registry, runner).resume("my-lora", assume_gone=True)
            await runner.settled("my-lora")
        assert registry.leases() == []
        await runner.close()

    asyncio.run(scenario())
    registry.writer.close()
    assert isinstance(registry.sound("my-job")[1].state, Failed)  # the program ran and wrote no result
    kinds = [type(event) for event in journal.good_events(folder / "events.jsonl")]
    assert kinds == [*map(type, events), e.SightLost, e.Disowned]


def test_a_stop_that_no_disk_recorded_ends_no_later_attempt_than_its_own(tmp_path: Path) -> None:
    registry, settings = waiting_program(tmp_path)
    path = registry.entry("my-job").folder.journal
    reservation = msgspec.structs.replace(h.reserved(), adapter="slurm", place=place.here())
    path.write_bytes(path.read_bytes() + e.encode(reservation) + e.encode(h.sight_lost()))
    registry = Registry(registry.home, Writer())
    registry.load()
    entry = registry.entry("my-job")

    async def scenario() -> None:
        runner = runner_of(registry, settings)
        verbs = verbs_of(registry, runner)
        async with asyncio.timeout(DEADLINE_SECONDS):
            runner.adopt(entry)
            registry.loss = "The disk refuses."
            assert view.show(await verbs.stop("my-job", after_checkpoint=False)).runtime.state is State.STOPPING
            registry.loss = None
            await verbs.resume("my-job", assume_gone=True)
            assert view.show(entry).runtime.state is State.INTERRUPTED
            await runner.settled("my-job")
            runner.start(entry, ())
            await runner.settled("my-job")

    asyncio.run(scenario())
    registry.writer.close()
    *others, last = journal.good_events(path)
    assert not any(isinstance(event, e.StopAsked) for event in others)
    assert isinstance(last, e.Ended)
    assert (last.attempt, last.outcome) == (2, "failed")  # the program ran and wrote no result


@pytest.mark.parametrize(("way", "shown"), [("queued", "The disk is full."), ("running", None)])
def test_why_a_start_failed_is_shown_and_logged_once_and_a_failing_watch_is_no_failed_start(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, way: str, shown: str | None
) -> None:
    folder = tmp_path / "outputs" / "my-lora"
    folder.mkdir(parents=True)
    (folder / "events.jsonl").write_bytes(b"".join(map(e.encode, h.WAYS[way])))
    registry = Registry(Home(tmp_path), Writer())
    registry.load()
    entry = registry.entry("my-lora")

    async def fail() -> None:
        raise StorageFailed("The disk is full.")

    async def scenario() -> None:
        for _ in range(3):
            await Runner._safely(entry, fail)

    asyncio.run(scenario())
    registry.writer.close()
    assert entry.now.start_problem == shown
    assert caplog.text.count("The disk is full") == 1


class Faulty(ProcessAdapter):
    """An adapter whose looks fail until `mended` is set."""

    mended = False
    looks = 0

    async def evidence(self, ref: AttemptRef) -> Evidence:
        self.looks += 1
        if not self.mended:
            raise ZeroDivisionError("a fault of ours")
        return await super().evidence(ref)


def test_a_failing_watch_is_shown_with_its_job_and_logged_once_until_it_succeeds(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    registry, settings = waiting_program(tmp_path)
    adapter = Faulty(stop_limit=1.0)

    async def scenario() -> None:
        runner = runner_of(registry, settings, adapter)
        entry = registry.entry("my-job")
        runner.start(entry, ())

        async def looked_at() -> bool:
            return adapter.looks >= 3

        await until_async(looked_at, what="it to be looked at three times")
        assert view.show(entry).runtime.reason == (
            "Running its attempt failed (ZeroDivisionError: a fault of ours) and will be retried; see the daemon's "
            "log."
        )
        adapter.mended = True
        async with asyncio.timeout(DEADLINE_SECONDS):
            await runner.settled("my-job")
        assert entry.state is State.FAILED  # the program wrote no result
        assert "ZeroDivisionError" not in str(view.show(entry).runtime.reason)

    asyncio.run(scenario())
    registry.writer.close()
    assert len([record for record in caplog.records if "will be retried" in record.message]) == 1


def test_a_fault_is_shown_no_longer_than_its_attempt(home: Home, tmp_path: Path) -> None:
    """The attempt's container no longer exists, so the first look that succeeds is the last one."""
    registry = Registry(home, Writer())
    registry.load()
    loaded = config.load({"HOME": str(tmp_path), "XDG_RUNTIME_DIR": str(tmp_path)}, {"home": str(tmp_path / "home")})
    adapter = Faulty(stop_limit=1.0)
    entry = registry.entry("my-lora")

    async def scenario() -> None:
        runner = runner_of(registry, loaded, adapter)
        runner.adopt(entry)

        async def failed() -> bool:
            return entry.now.faults.sentence is not None

        await until_async(failed, what="a look to fail")
        adapter.mended = True
        async with asyncio.timeout(DEADLINE_SECONDS):
            await runner.settled("my-lora")

    asyncio.run(scenario())
    registry.writer.close()
    assert entry.state is State.INTERRUPTED
    assert entry.now.faults.sentence is None


def test_a_resume_begins_without_the_faults_of_the_attempt_before(tmp_path: Path) -> None:
    folder = tmp_path / "outputs" / "my-lora"
    folder.mkdir(parents=True)
    (folder / "events.jsonl").write_bytes(b"".join(map(e.encode, h.WAYS["lost"])))
    registry = Registry(Home(tmp_path), Writer())
    registry.load()
    entry = registry.entry("my-lora")
    entry.now.faults.failed("my-lora", ATTEMPT, ZeroDivisionError("a fault of ours"))
    asyncio.run(verbs_of(registry, Nobody()).resume("my-lora", assume_gone=True))
    registry.writer.close()
    assert entry.now.faults.sentence is None


def test_a_watchdog_that_ends_while_its_looks_fail_does_not_report_success(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "outputs" / "my-lora"
    folder.mkdir(parents=True)
    (folder / "events.jsonl").write_bytes(b"".join(map(e.encode, h.WAYS["running"])))
    registry = Registry(Home(tmp_path), Writer())
    registry.load()
    entry = registry.entry("my-lora")
    settings = config.load({"HOME": str(tmp_path), "XDG_RUNTIME_DIR": str(tmp_path)}, {"home": str(tmp_path)})

    def fail(*_: object) -> None:
        raise ZeroDivisionError("a fault of ours")

    monkeypatch.setattr("fluxgymd.watchdog.watch.judge", fail)

    async def scenario() -> None:
        adapter = ProcessAdapter(stop_limit=1.0)
        watch = Watch(registry, entry, adapter, Trainers(settings), gpus=Gpus(), config=settings)
        looks = asyncio.create_task(watch.run())

        async def failed() -> bool:
            return entry.now.faults.sentence is not None

        await until_async(failed, what="a look to fail")
        looks.cancel()
        await asyncio.wait({looks}, timeout=DEADLINE_SECONDS)

    asyncio.run(scenario())
    registry.writer.close()
    assert entry.now.faults.sentence is None
    assert "works again" not in caplog.text


class SlowPreflight(Preflight):
    """A trainer that answers one question after the other, each when the test lets it."""

    def __init__(self, registry: Registry) -> None:
        super().__init__(registry, trainers(), Gpus())
        self.asked: asyncio.Queue[asyncio.Future[None]] = asyncio.Queue()

    async def examine(
        self,
        context: Context,
        folder: JobFolder,
        *,
        pictures: Sequence[Path],
        copied: e.Copied | None = None,
        origin: Origin | None = None,
    ) -> Outlook:
        answer: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.asked.put_nowait(answer)
        async with asyncio.timeout(DEADLINE_SECONDS):
            await answer
        return await super().examine(context, folder, pictures=pictures, copied=copied, origin=origin)


def test_a_resume_that_is_still_being_checked_does_not_undo_a_stop(tmp_path: Path) -> None:
    folder = tmp_path / "outputs" / "my-lora"
    folder.mkdir(parents=True)
    submitted = h.submitted()
    program = msgspec.structs.replace(submitted.context, kind=Kind.PROGRAM, program=["/bin/true"])
    history = [msgspec.structs.replace(submitted, context=program), *h.WAYS["failed"][1:]]
    (folder / "events.jsonl").write_bytes(b"".join(map(e.encode, history)))
    registry = Registry(Home(tmp_path), Writer())
    registry.load()
    preflight = SlowPreflight(registry)
    verbs = Verbs(
        registry,
        Nobody(),
        NoPasses(),
        preflight,
        trainers(),
        Takeover(registry, preflight, trainers(), Copier()).record,
    )

    async def scenario() -> None:
        async with asyncio.timeout(DEADLINE_SECONDS):
            first, second = (asyncio.create_task(verbs.resume("my-lora", assume_gone=False)) for _ in range(2))
            answers = [await preflight.asked.get(), await preflight.asked.get()]
            answers[0].set_result(None)
            await first
            await verbs.stop("my-lora", after_checkpoint=False)
            answers[1].set_result(None)
            with pytest.raises(WrongState, match="it was stopped while its trainer was still checking it"):
                await second

    asyncio.run(scenario())
    registry.writer.close()
    assert registry.entry("my-lora").state is State.STOPPED
