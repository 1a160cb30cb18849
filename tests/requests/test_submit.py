# SPDX-License-Identifier: Apache-2.0
"""Submits: a name that somebody takes at the last moment by making a folder; the thread on which a new job's journal
is read; the LoRA from which a job starts; and the order of jobs when a clock is set back or a journal is strange."""

import asyncio
import threading
from pathlib import Path

import msgspec
import pytest

from fluxgym.errors import NameTaken
from fluxgym.protocol.messages import Context, Kind
from fluxgymd.core import schedule
from fluxgymd.core.journal import events
from fluxgymd.gpus.machine import Gpus
from fluxgymd.jobs.registry import Registry
from fluxgymd.requests.copying import Copier
from fluxgymd.requests.submit import Submitter
from fluxgymd.run.preflight import Preflight
from fluxgymd.store import atomic, journal
from fluxgymd.store.home import Home, JobFolder
from fluxgymd.store.writer import Writer
from fluxgymd.trainers import presence
from fluxgymd.trainers.port import Question
from tests.core.histories import CONTEXT
from tests.requests.stored import sources_of
from tests.trainers.adapters import trainers


def submitter(registry: Registry) -> Submitter:
    known = trainers()
    return Submitter(registry, Preflight(registry, known, Gpus()), known, Copier(), sources_of(registry))


@pytest.mark.parametrize("what", ["folder", "file"])
def test_a_name_that_is_taken_while_the_job_is_published_is_reported_as_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    home = Home(tmp_path)
    home.prepare()
    stranger = home.outputs / "my-job"

    def take_the_name(folder: Path) -> None:
        """Takes the name between the check of the name and the rename."""
        if what == "folder":
            stranger.mkdir()
            (stranger / "mine.txt").write_text("mine")
        else:
            stranger.write_text("mine")
        atomic.sync_folder(folder)

    monkeypatch.setattr("fluxgymd.store.home.sync_folder", take_the_name)
    registry = Registry(home, Writer())
    context = Context(name="my-job", kind=Kind.PROGRAM, program=["/bin/true"])
    with pytest.raises(NameTaken, match=r"my-job exists but is not a job; move it away, or choose another name\.$"):
        asyncio.run(submitter(registry).submit(context))
    registry.writer.close()
    assert registry.storage_problem is None
    assert not registry.has("my-job")
    assert list(home.outputs.iterdir()) == [stranger]
    assert (stranger / "mine.txt" if what == "folder" else stranger).read_text() == "mine"


def test_the_journal_of_a_new_job_is_not_read_on_the_event_loop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If the volume hung at that moment, the event loop would hang too."""
    home = Home(tmp_path)
    home.prepare()
    readers: list[threading.Thread] = []
    read = journal.read

    def noted(path: Path) -> journal.History:
        readers.append(threading.current_thread())
        return read(path)

    monkeypatch.setattr("fluxgymd.store.journal.read", noted)
    registry = Registry(home, Writer())
    context = Context(name="my-job", kind=Kind.PROGRAM, program=["/bin/true"])
    entry, _ = asyncio.run(submitter(registry).submit(context))
    registry.writer.close()
    assert entry.job is not None
    assert entry.job.name == "my-job"
    assert len(readers) == 1
    assert threading.current_thread() not in readers


@pytest.mark.parametrize(
    ("weights", "after", "missing"),
    [
        ("/nowhere/first.safetensors", [], "/nowhere/first.safetensors"),
        ("first.safetensors", [], "{home}/outputs/my-lora/first.safetensors"),
        ("{home}/first.safetensors", [], None),
        # Files that an earlier job will make: recognized by their place in its folder, or because the new job waits
        # for it.
        ("{home}/outputs/earlier/earlier.safetensors", [], None),
        ("../earlier/earlier.safetensors", [], None),
        ("/nowhere/downloaded.safetensors", ["earlier"], None),
    ],
)
def test_the_lora_that_a_training_starts_from_exists_or_will_exist(
    weights: str, after: list[str], missing: str | None, tmp_path: Path
) -> None:
    (tmp_path / "first.safetensors").touch()
    options = {"network_weights": [weights.format(home=tmp_path)]}
    context = msgspec.structs.replace(CONTEXT, name="my-lora", trainer_options=options, after=after)
    folder = JobFolder(tmp_path / "outputs" / "my-lora")
    found = presence.problems(Question(context=context, folder=folder, pictures=(tmp_path,)))
    told = [(problem.sentence, problem.path) for problem in found if problem.setting == "network_weights"]
    path = missing.format(home=tmp_path) if missing is not None else None
    sentence = f"trainer_options.network_weights: {path} does not exist."
    assert told == ([(sentence, path)] if missing is not None else [])


def test_no_later_submit_overtakes_an_earlier_one_after_the_clock_is_set_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = Home(tmp_path)
    home.prepare()
    names = ["first", "second", "third", "fourth"]

    async def scenario(registry: Registry, begin: int, *clock: float) -> None:
        for name, now in zip(names[begin:], clock, strict=False):
            monkeypatch.setattr("fluxgymd.requests.submit.time.time", lambda now=now: now)
            await submitter(registry).submit(Context(name=name, kind=Kind.PROGRAM, program=["/bin/true"]))
        monkeypatch.undo()

    registry = Registry(home, Writer())
    asyncio.run(scenario(registry, 0, 2000.0, 1000.0))
    registry.writer.close()
    again = Registry(home, Writer())  # after a restart, with the clock still set back
    again.load()
    asyncio.run(scenario(again, 2, 1500.0, 1500.0))
    again.writer.close()
    assert [job.name for job in schedule.queue(again.jobs())] == names
    assert [entry.name for entry in again.newest()] == names[::-1]
    assert [entry.name for entry in again.newest(before="third")] == ["second", "first"]


def test_jobs_of_a_version_without_numbers_stay_ahead_of_new_ones(tmp_path: Path) -> None:
    home = Home(tmp_path)
    home.prepare()
    context = Context(name="old", kind=Kind.PROGRAM, program=["/bin/true"])
    (home.outputs / "old").mkdir()
    old = events.Submitted(at=9e9, id="0" * 32, context=context, rank=9e9)
    line = events.encode(old).replace(b',"number":0', b"")
    assert b"number" not in line
    (home.outputs / "old" / "events.jsonl").write_bytes(line)
    registry = Registry(home, Writer())
    registry.load()
    asyncio.run(submitter(registry).submit(msgspec.structs.replace(context, name="new")))
    registry.writer.close()
    assert [job.name for job in schedule.queue(registry.jobs())] == ["old", "new"]
    assert [entry.name for entry in registry.newest()] == ["new", "old"]


@pytest.mark.parametrize(
    ("number", "rank", "garbage", "numbers"),
    [
        (2**64 - 1, 1.0, b"", [1, 2]),  # an impossible number: the job is damaged
        (1, 1e308, b"", [1, 2]),
        (2**53 - 1, 1.0, b"garbage\n", [1, 2]),  # a journal with damage in another line
        (1, 2.0**53 - 1, b"", [2, 3]),
        (1, 2.0**53, b"", [2, 3]),
        (2**53, 1.0, b"", [2**53, 2**53]),
    ],
)
def test_jobs_submitted_beside_a_journal_with_extreme_numbers_can_be_read_and_stay_in_order(
    tmp_path: Path, number: int, rank: float, garbage: bytes, numbers: list[int]
) -> None:
    home = Home(tmp_path)
    home.prepare()
    context = Context(name="strange", kind=Kind.PROGRAM, program=["/bin/true"])
    (home.outputs / "strange").mkdir()
    strange = events.Submitted(at=5.0, id="0" * 32, context=context, number=number, rank=rank)
    (home.outputs / "strange" / "events.jsonl").write_bytes(events.encode(strange) + garbage)
    registry = Registry(home, Writer())
    registry.load()

    async def scenario() -> None:
        for name in ("first", "second"):
            await submitter(registry).submit(msgspec.structs.replace(context, name=name))

    asyncio.run(scenario())
    registry.writer.close()
    again = Registry(home, Writer())
    again.load()
    again.writer.close()
    jobs = [again.sound(name)[1] for name in ("first", "second")]
    assert [job.number for job in jobs] == numbers
    assert schedule.queue(reversed(jobs)) == jobs
