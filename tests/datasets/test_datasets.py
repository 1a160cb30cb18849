# SPDX-License-Identifier: Apache-2.0
"""Datasets on a real disk: what was acknowledged is there, damage is never overwritten, and removed datasets come
back."""

import asyncio
import errno
import os
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import msgspec
import pytest

from fluxgym.errors import DatasetDamaged, FluxgymError, InvalidName, NameTaken, NoSuchDataset, StorageFailed
from fluxgym.protocol.dataset_messages import DatasetState
from fluxgymd.core.datasets import events as e
from fluxgymd.core.datasets.dataset import Dataset
from fluxgymd.core.job import BadHistory
from fluxgymd.datasets import datasets as module
from fluxgymd.datasets import loading, view
from fluxgymd.datasets.datasets import Datasets
from fluxgymd.datasets.loading import Damaged, Found, Plain, Stored
from fluxgymd.store.dataset_folders import DatasetFolders
from fluxgymd.store.home import JOURNAL
from tests.core.datasets.histories import added, edited


class Bench:
    """Datasets in a home, with a disk that may refuse."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.refuses = False
        self.opened = asyncio.Event()
        self.opened.set()
        self.begun: list[str] = []
        self.datasets = Datasets(DatasetFolders(home), self._disk)

    async def _disk(self, work: Callable[[], Any]) -> Any:
        if self.refuses:
            raise StorageFailed("The disk is full.")
        await asyncio.wait_for(self.opened.wait(), timeout=60)
        return work()

    async def begin(self, name: str) -> list[e.AnyEvent]:
        self.begun.append(name)
        return [added("a.png", caption="from the folder")]

    async def record(self, name: str, event: e.AnyEvent) -> Dataset:
        stored, _ = await self.datasets.decide(name, lambda _: event, begin=self.begin)
        return stored.dataset

    def reread(self, name: str) -> Dataset:
        """The dataset as the next daemon reads it."""
        found = asyncio.run(Bench(self.home).datasets.find(name))
        assert isinstance(found, Stored)
        return found.dataset

    def journal(self, name: str) -> Path:
        return self.home / "datasets" / name / JOURNAL


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def do(*steps: Coroutine[Any, Any, Any]) -> list[Any]:
    async def all_of_them() -> list[Any]:
        return [await step for step in steps]

    return asyncio.run(all_of_them())


def refused(kind: type[FluxgymError], step: Coroutine[Any, Any, Any]) -> str:
    with pytest.raises(kind) as error:
        asyncio.run(step)
    return str(error.value)


def test_changes_are_on_the_disk(bench: Bench) -> None:
    _, first, last = do(
        bench.datasets.create("cats"),
        bench.record("cats", added("a.png", "b.png")),
        bench.record("cats", edited("a.png", caption="x")),
    )
    assert (first.revision, last.revision) == (2, 3)
    assert bench.reread("cats") == last
    assert bench.journal("cats").read_bytes().count(b"\n") == 3


def test_a_name_is_checked_and_taken_once(bench: Bench) -> None:
    (bench.home / "datasets/dogs").mkdir(parents=True)
    do(bench.datasets.create("cats"))
    assert "'my-cats' would be valid" in refused(InvalidName, bench.datasets.create("My cats"))
    assert "named cats already exists" in refused(NameTaken, bench.datasets.create("cats"))
    assert "named dogs already exists" in refused(NameTaken, bench.datasets.create("dogs"))
    for name in ("none", "../cats", ".trash", "", "cats/.."):
        refused(NoSuchDataset, bench.datasets.find(name))
        refused(NoSuchDataset, bench.datasets.remove(name))
    before = sorted(bench.home.rglob("*"))
    for name in ("../x", "cats/../../x"):
        refused(InvalidName, bench.record(name, added("a.png")))
    assert sorted(bench.home.rglob("*")) == before
    assert asyncio.run(bench.datasets.names()) == ["cats", "dogs"]


def test_a_change_that_the_disk_refuses_does_not_count(bench: Bench) -> None:
    do(bench.datasets.create("cats"), bench.record("cats", added("a.png")))
    before = bench.journal("cats").read_bytes()
    bench.refuses = True
    refused(StorageFailed, bench.record("cats", edited("a.png", caption="x")))
    assert bench.journal("cats").read_bytes() == before
    bench.refuses = False
    (dataset,) = do(bench.record("cats", edited("a.png", used=False)))
    assert (dataset.revision, dataset.pictures["a.png"].caption) == (3, None)
    assert bench.reread("cats") == dataset


def test_a_change_that_contradicts_the_ones_before_it_is_not_written(bench: Bench) -> None:
    do(bench.datasets.create("cats"), bench.record("cats", added("a.png")))
    with pytest.raises(BadHistory):
        do(bench.record("cats", edited("b.png", used=False)))
    (dataset,) = do(bench.record("cats", edited("a.png", used=False)))
    assert bench.reread("cats") == dataset


def test_promise_8_a_damaged_dataset_is_reported_and_not_written_to(bench: Bench) -> None:
    do(bench.datasets.create("cats"), bench.datasets.create("dogs"), bench.record("cats", added("a.png")))
    journal = bench.journal("cats")
    journal.write_bytes(journal.read_bytes().replace(b'"added"', b'"adde"') + b"\n")
    before = journal.read_bytes()
    after = Bench(bench.home)
    found, sound = do(after.datasets.find("cats"), after.datasets.find("dogs"))
    assert isinstance(found, Damaged)
    assert isinstance(sound, Stored)
    assert view.show(found).state is DatasetState.DAMAGED
    said = refused(DatasetDamaged, after.record("cats", edited("a.png", used=False)))
    assert said.startswith("The journal of the dataset cats is damaged: line 2 of events.jsonl is not an event")
    assert f"repair or restore {journal}" in said
    assert journal.read_bytes() == before


def test_what_a_crash_left_after_the_last_event_is_cut_off_and_kept(bench: Bench) -> None:
    do(bench.datasets.create("cats"))
    with bench.journal("cats").open("ab") as file:
        file.write(b'{"event":"add')
    (dataset,) = do(Bench(bench.home).record("cats", added("a.png")))
    assert dataset.revision == 2
    assert bench.reread("cats") == dataset
    assert (bench.journal("cats").parent / "events.jsonl.torn-1").read_bytes() == b'{"event":"add'


def test_a_plain_folder_becomes_a_dataset_at_its_first_change(bench: Bench) -> None:
    folder = bench.home / "datasets/cats"
    folder.mkdir(parents=True)
    (folder / "a.png").write_bytes(b"a picture")
    (folder / "a.txt").write_bytes("Größe\n".encode("latin-1"))
    (found,) = do(bench.datasets.find("cats"))
    assert isinstance(found, Plain)
    assert [(picture.name, picture.caption) for picture in view.pictures(found)] == [("a.png", "Gr\ufffd\ufffde")]
    assert not (folder / JOURNAL).exists()
    _, dataset = do(
        bench.record("cats", edited("a.png", used=False)), bench.record("cats", edited("a.png", caption="x"))
    )
    assert bench.begun == ["cats"]
    assert [change.number for change in dataset.changes] == [1, 2, 3, 4]
    assert bench.reread("cats") == dataset
    assert (folder / "a.png").read_bytes() == b"a picture"


def test_a_folder_that_is_becoming_a_dataset_can_be_looked_at(bench: Bench) -> None:
    """The import of a thousand pictures takes minutes, and a list of all datasets must not wait for it."""
    folder = bench.home / "datasets/cats"
    folder.mkdir(parents=True)
    (folder / "a.png").write_bytes(b"a picture")

    async def steps() -> None:
        bench.opened.clear()
        changing = asyncio.create_task(bench.record("cats", edited("a.png", used=False)))
        await turns()
        async with asyncio.timeout(60):
            assert isinstance(await bench.datasets.find("cats"), Plain)
        assert not changing.done()
        bench.opened.set()
        await changing
        assert isinstance(await bench.datasets.find("cats"), Stored)

    asyncio.run(steps())


def test_promise_8_a_folder_that_cannot_be_read_hides_no_other(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(folder: Path) -> object:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), folder)

    do(bench.datasets.create("cats"), bench.record("cats", added("a.png")))
    monkeypatch.setattr(module, "load", denied)
    (found,) = do(Bench(bench.home).datasets.find("cats"))
    assert isinstance(found, Damaged)
    assert found.problem == (
        f"The folder {bench.home}/datasets/cats cannot be read: permission denied; make it readable for your user."
    )


def test_names_that_are_not_utf_8_can_be_shown(bench: Bench) -> None:
    folder = bench.home / "datasets" / os.fsdecode(b"cats\xff")
    folder.mkdir(parents=True)
    (folder / os.fsdecode(b"a\xff.png")).touch()
    (name,) = asyncio.run(bench.datasets.names())
    (found,) = do(bench.datasets.find(name))
    shown = [view.show(found), *view.pictures(found), view.misnamed(name, str(folder))]
    assert {json["name"] for json in map(msgspec.to_builtins, shown)} == {"cats\ufffd", "a\ufffd.png"}
    assert msgspec.json.encode(shown)


def test_removed_datasets_come_back_the_last_one_first(bench: Bench) -> None:
    do(bench.datasets.create("cats"), bench.record("cats", added("a.png")), bench.datasets.remove("cats"))
    do(bench.datasets.create("cats"), bench.record("cats", added("b.png")), bench.datasets.remove("cats"))
    assert asyncio.run(bench.datasets.names()) == []
    assert [removed.name for removed in asyncio.run(bench.datasets.trash())] == ["cats", "cats"]
    (found,) = do(bench.datasets.restore("cats"))
    assert list(found.dataset.pictures) == ["b.png"]
    assert "named cats already exists" in refused(NameTaken, bench.datasets.restore("cats"))
    _, found = do(bench.datasets.remove("cats"), bench.datasets.restore("cats"))
    assert list(found.dataset.pictures) == ["b.png"]
    refused(NoSuchDataset, bench.datasets.restore("dogs"))
    assert bench.reread("cats") == found.dataset


def test_datasets_that_are_no_longer_in_memory_are_read_again(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "KEPT", 1)
    do(bench.datasets.create("cats"), bench.datasets.create("dogs"), bench.record("dogs", added("b.png")))
    _, dataset = do(bench.record("cats", added("a.png")), bench.record("dogs", added("c.png")))
    assert list(dataset.pictures) == ["b.png", "c.png"]


def test_the_datasets_that_were_asked_for_last_stay_in_memory(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("birds", "cats", "dogs"):
        do(Bench(bench.home).datasets.create(name))
    loaded: list[str] = []

    def load(folder: Path) -> Found:
        loaded.append(folder.name)
        return loading.load(folder)

    monkeypatch.setattr(module, "load", load)
    monkeypatch.setattr(module, "KEPT", 2)
    do(*(bench.datasets.find(name) for name in ("cats", "dogs", "cats", "birds", "cats", "dogs")))
    do(bench.record("dogs", added("a.png")))
    assert loaded == ["cats", "dogs", "birds", "dogs"]


def test_two_clients_are_never_in_the_same_dataset_at_once(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also while somebody asks for a dataset that does not exist yet, or removes it."""
    looks: list[str] = []
    find = Datasets._find

    async def look(self: Datasets, name: str) -> Any:
        looks.append(name)
        return await find(self, name)

    monkeypatch.setattr(Datasets, "_find", look)

    async def all_of_them() -> None:
        bench.opened.clear()
        asking = asyncio.create_task(bench.datasets.find("cats"))
        await turns()
        creating = asyncio.create_task(bench.datasets.create("cats"))
        with pytest.raises(NoSuchDataset):
            await asking
        recording = asyncio.create_task(bench.record("cats", added("a.png")))
        await turns()
        assert len(looks) == 1  # both wait: the first for the disk, the second for the first
        bench.opened.set()
        await creating
        assert (await recording).revision == 2
        bench.opened.clear()
        removing = asyncio.create_task(bench.datasets.remove("cats"))
        await asyncio.wait([removing], timeout=0)
        waiting = asyncio.create_task(bench.record("cats", edited("a.png", used=False)))
        bench.opened.set()
        await removing
        with pytest.raises(NoSuchDataset):
            await waiting
        with pytest.raises(NoSuchDataset):
            await bench.datasets.remove("dogs")
        assert not bench.datasets._locks  # a name that nobody uses takes no memory

    asyncio.run(all_of_them())
    assert not list(bench.home.glob("datasets/**/*.torn-*"))


async def turns() -> None:
    """Lets everything that can go on go on, but for what waits for a thread."""
    for _ in range(10):
        await asyncio.sleep(0)


def test_clients_hear_of_each_change(bench: Bench) -> None:
    changes = bench.datasets.changes
    do(bench.datasets.create("cats"), bench.datasets.create("dogs"), bench.record("cats", added("a.png")))
    assert changes.since(0) == (["dogs", "cats"], [])
    do(bench.datasets.remove("cats"))
    assert changes.since(3) == ([], ["cats"])
    do(bench.datasets.restore("cats"))
    assert changes.since(3) == (["cats"], [])


def test_what_a_crash_left_half_built_or_half_deleted_goes_at_the_next_opportunity(tmp_path: Path) -> None:
    folders = DatasetFolders(tmp_path)
    half = [tmp_path / "datasets/.new-x/events.jsonl", tmp_path / "datasets/.trash/.gone-x/events.jsonl"]
    kept = [
        tmp_path / "datasets/cats/a.png",
        tmp_path / "datasets/.trash/dogs@1/a.png",
        tmp_path / "datasets/.store/x",
    ]
    for path in (*half, *kept):
        path.parent.mkdir(parents=True)
        path.touch()
    folders.create("new", e.Created(at=1.0, id="y"))
    folders.remove("new", now=1.0)
    folders.purge(folders.trash()[0])
    assert [path.exists() for path in (*half, *kept)] == [False, False, True, True, True]
    assert [removed.name for removed in folders.trash()] == ["dogs"]


def test_a_disk_that_fails_while_a_dataset_is_created_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("fluxgymd.store.dataset_folders.write_file", full)
    with pytest.raises(OSError, match="No space"):
        DatasetFolders(tmp_path).create("cats", e.Created(at=1.0, id="x"))
    assert list((tmp_path / "datasets").iterdir()) == []
