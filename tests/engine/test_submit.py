# SPDX-License-Identifier: Apache-2.0
"""A submit whose name is taken in the last moment, by somebody who makes a folder of it by hand; on which thread the
journal of a new job is read; and a LoRA that a job begins with."""

import asyncio
import threading
from pathlib import Path

import msgspec
import pytest

from fluxgym.errors import FileMissing, NameTaken
from fluxgym.messages import Context, Kind
from fluxgymd.engine import preflight
from fluxgymd.engine.book import Book
from fluxgymd.engine.preflight import Preflight
from fluxgymd.engine.submit import Submitter
from fluxgymd.gpus.machine import Gpus
from fluxgymd.store import atomic, journal
from fluxgymd.store.home import Home
from fluxgymd.store.writer import Writer
from fluxgymd.trainers.flags import KnownFlags
from tests.core.histories import CONTEXT


@pytest.mark.parametrize("what", ["folder", "file"])
def test_a_name_that_is_taken_while_the_job_is_published_is_told_as_that(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    home = Home(tmp_path)
    home.prepare()
    stranger = home.outputs / "my-job"

    def take_the_name(folder: Path) -> None:
        """Between the look at the name and the rename."""
        if what == "folder":
            stranger.mkdir()
            (stranger / "mine.txt").write_text("mine")
        else:
            stranger.write_text("mine")
        atomic.sync_folder(folder)

    monkeypatch.setattr("fluxgymd.store.home.sync_folder", take_the_name)
    book = Book(home, Writer())
    checks = Preflight(book, KnownFlags(tmp_path / "python", tmp_path / "trainer.py"), Gpus())
    context = Context(name="my-job", kind=Kind.PROGRAM, program=["/bin/true"])
    with pytest.raises(NameTaken, match=r"my-job is there and is no job; move it away, or choose another name\.$"):
        asyncio.run(Submitter(book, checks).submit(context))
    book.writer.close()
    assert book.storage_problem is None
    assert not book.has("my-job")
    assert list(home.outputs.iterdir()) == [stranger]
    assert (stranger / "mine.txt" if what == "folder" else stranger).read_text() == "mine"


def test_the_journal_of_a_new_job_is_not_read_on_the_event_loop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A volume that stops in that moment would stop everything."""
    home = Home(tmp_path)
    home.prepare()
    readers: list[threading.Thread] = []
    read = journal.read

    def noted(path: Path) -> journal.History:
        readers.append(threading.current_thread())
        return read(path)

    monkeypatch.setattr("fluxgymd.store.journal.read", noted)
    book = Book(home, Writer())
    checks = Preflight(book, KnownFlags(tmp_path / "python", tmp_path / "trainer.py"), Gpus())
    context = Context(name="my-job", kind=Kind.PROGRAM, program=["/bin/true"])
    entry, _ = asyncio.run(Submitter(book, checks).submit(context))
    book.writer.close()
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
        # What an earlier job will make: by its place, and where the job waits for it.
        ("{home}/outputs/earlier/earlier.safetensors", [], None),
        ("../earlier/earlier.safetensors", [], None),
        ("/nowhere/downloaded.safetensors", ["earlier"], None),
    ],
)
def test_the_lora_that_a_training_begins_with_is_there_or_will_be(
    weights: str, after: list[str], missing: str | None, tmp_path: Path
) -> None:
    (tmp_path / "first.safetensors").touch()
    options = {"network_weights": [weights.format(home=tmp_path)]}
    context = msgspec.structs.replace(CONTEXT, name="my-lora", trainer_options=options, after=after)
    folder = tmp_path / "outputs" / "my-lora"
    if missing is None:
        preflight._check_first_weights(context, folder)
    else:
        with pytest.raises(
            FileMissing, match=f"There is no file {missing.format(home=tmp_path)}, with whose weights"
        ):
            preflight._check_first_weights(context, folder)
