# SPDX-License-Identifier: Apache-2.0
"""A submit whose name is taken in the last moment, by somebody who makes a folder of it by hand; and on which thread
the journal of a new job is read."""

import asyncio
import threading
from pathlib import Path

import pytest

from fluxgym.errors import NameTaken
from fluxgym.messages import Context, Kind
from fluxgymd.engine.book import Book
from fluxgymd.engine.preflight import Preflight
from fluxgymd.engine.submit import Submitter
from fluxgymd.gpus.machine import Gpus
from fluxgymd.store import atomic, journal
from fluxgymd.store.home import Home
from fluxgymd.store.writer import Writer
from fluxgymd.trainers.flags import KnownFlags


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
    preflight = Preflight(book, KnownFlags(tmp_path / "python", tmp_path / "trainer.py"), Gpus())
    context = Context(name="my-job", kind=Kind.PROGRAM, program=["/bin/true"])
    with pytest.raises(NameTaken, match=r"my-job is there and is no job; move it away, or choose another name\.$"):
        asyncio.run(Submitter(book, preflight).submit(context))
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
    preflight = Preflight(book, KnownFlags(tmp_path / "python", tmp_path / "trainer.py"), Gpus())
    context = Context(name="my-job", kind=Kind.PROGRAM, program=["/bin/true"])
    entry, _ = asyncio.run(Submitter(book, preflight).submit(context))
    book.writer.close()
    assert entry.job is not None
    assert entry.job.name == "my-job"
    assert len(readers) == 1
    assert threading.current_thread() not in readers
