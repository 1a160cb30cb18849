# SPDX-License-Identifier: Apache-2.0
"""Adding pictures to a dataset, with the real importer."""

import asyncio
import signal
from asyncio.subprocess import Process
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest
from msgspec import structs

from fluxgym.errors import InvalidDataset
from fluxgymd.core.datasets import events as e
from fluxgymd.datasets import importing, view
from fluxgymd.datasets.adding import Adder, is_known
from fluxgymd.datasets.datasets import Datasets
from fluxgymd.datasets.importing import Importer
from fluxgymd.datasets.loading import Plain
from fluxgymd.failpoints import VARIABLE
from fluxgymd.pictures.lines import AnyLine, ImportedPicture, Wishes
from fluxgymd.store.dataset_folders import DatasetFolders
from fluxgymd.store.pictures import PictureStore
from tests.datasets.importing import make_pictures
from tests.harness.waiting import DEADLINE_SECONDS, forever, until_async

CREATED = "The dataset was created."


class Bench:
    def __init__(self, home: Path) -> None:
        self.store = PictureStore(home)
        self.datasets = Datasets(DatasetFolders(home), self._disk)
        self.adder = Adder(self.datasets, Importer(self.store.path))

    async def _disk(self, work: Callable[[], Any]) -> Any:
        return work()

    async def add(self, source: Path) -> tuple[int, int]:
        """How many pictures the dataset got, and how many it had."""
        added = known = 0
        async with (
            asyncio.timeout(DEADLINE_SECONDS),
            aclosing(self.adder.add("cats", source, Wishes())) as batches,
        ):
            async for _, batch in batches:
                added += sum(name is not None for line, name in batch if isinstance(line, ImportedPicture))
                known += sum(is_known(line, name) for line, name in batch)
        return added, known


@pytest.mark.parametrize("damage", [Path.unlink, lambda path: (path.chmod(0o600), path.write_bytes(b"short"))])
def test_a_picture_that_was_lost_from_the_store_comes_back_when_it_is_added_again(
    tmp_path: Path, damage: Callable[[Path], object]
) -> None:
    source, bench = make_pictures(tmp_path / "cats", 2), Bench(tmp_path)

    async def steps() -> None:
        await bench.datasets.create("cats")
        assert await bench.add(source) == (2, 0)
        lost = next(bench.store.path.glob("*/*.jpg"))
        data = lost.read_bytes()
        damage(lost)
        assert await bench.add(source) == (0, 2)
        assert lost.read_bytes() == data

    asyncio.run(steps())


def test_the_history_tells_what_the_import_of_a_plain_folder_left_out(tmp_path: Path) -> None:
    """Its first change imports it, and there is no stream of replies to say so."""
    source, bench = make_pictures(tmp_path / "datasets/cats", 2), Bench(tmp_path)
    (source / "broken.png").touch()
    (source / "copy.jpg").write_bytes((source / "IMG_1.jpg").read_bytes())
    stored = asyncio.run(bench.adder.stored("cats"))
    broken = "broken.png is empty; replace it or remove it from the dataset."
    copy = "copy.jpg has the same bytes as IMG_1.jpg."
    told = [change.text for change in view.changes(stored.dataset)]
    assert told == [CREATED, f"2 pictures were added. {broken} {copy}"]
    assert (source / "broken.png").exists()


def test_a_folder_without_pictures_becomes_an_empty_dataset(tmp_path: Path) -> None:
    (tmp_path / "datasets/empty").mkdir(parents=True)
    (tmp_path / "datasets/captions").mkdir()
    (tmp_path / "datasets/captions/a.txt").write_text("a cat")
    adder = Bench(tmp_path).adder
    empty, captions = (
        [change.text for change in view.changes(asyncio.run(adder.stored(name)).dataset)]
        for name in ("empty", "captions")
    )
    assert empty == [CREATED]
    assert captions[0] == CREATED
    assert captions[1].startswith("0 pictures were added. 1 caption without a picture is left out (a.txt)")


def test_a_folder_whose_import_dies_stays_a_plain_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also if all of its pictures are in a subfolder, or a trainer could not read them."""
    make_pictures(tmp_path / "datasets/cats/10_cat", 1)
    bench = Bench(tmp_path)
    monkeypatch.setenv(VARIABLE, "import.file_written=kill")
    with pytest.raises(InvalidDataset, match="could not be imported completely"):
        asyncio.run(bench.adder.stored("cats"))
    assert isinstance(asyncio.run(bench.datasets.find("cats")), Plain)
    monkeypatch.delenv(VARIABLE)
    assert list(asyncio.run(bench.adder.stored("cats")).dataset.pictures) == ["IMG_1.jpg"]


def test_an_import_in_several_batches_is_one_change(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source, bench = make_pictures(tmp_path / "cats", 3), Bench(tmp_path)
    monkeypatch.setattr(importing, "BATCH", 1)

    async def steps() -> None:
        await bench.datasets.create("cats")
        assert await bench.add(source) == (3, 0)
        added = await bench.adder.stored("cats")
        assert [change.number for change in added.dataset.changes] == [1, 2]
        undone, _ = await bench.datasets.decide("cats", lambda _: e.Undone(at=1.0, change=2), begin=bench.adder.begin)
        assert undone.dataset.pictures == {}

    asyncio.run(steps())


def test_files_that_become_the_same_picture_are_one_in_the_dataset(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The importer reports each of them, since the files differ: 16-bit PNGs with different text chunks, say."""
    first = ImportedPicture(
        path="a.png",
        name="a.png",
        sha256="a" * 64,
        source="b" * 64,
        width=8,
        height=8,
        size=100,
        difference_hash="0" * 32,
        sharpness=1.0,
    )
    second = structs.replace(first, path="b.png", name="b.png", source="c" * 64)

    async def run(*_: object) -> AsyncGenerator[list[AnyLine], None]:
        yield [first, second]

    monkeypatch.setattr(Importer, "run", run)
    bench = Bench(tmp_path)

    async def steps() -> None:
        await bench.datasets.create("cats")
        assert await bench.add(tmp_path) == (1, 1)
        assert list((await bench.adder.stored("cats")).dataset.pictures) == ["a.png"]

    asyncio.run(steps())


def test_what_a_client_was_told_stays_when_it_leaves_in_the_middle_and_the_import_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, bench = make_pictures(tmp_path / "cats", 3), Bench(tmp_path)
    importers: list[Process] = []
    told: list[str | None] = []
    start = asyncio.create_subprocess_exec

    async def started(*words: Any, **options: Any) -> Process:
        importers.append(await start(*words, **options))
        return importers[-1]

    async def listen() -> None:
        async with aclosing(bench.adder.add("cats", source, Wishes())) as batches:
            async for _, batch in batches:
                told.extend(name for _, name in batch)
                await forever()

    async def all_are_stored() -> bool:
        return len(told) == 1 and len(list(bench.store.path.glob("*/*.jpg"))) == 3

    async def steps() -> None:
        await bench.datasets.create("cats")
        client = asyncio.create_task(listen())
        await until_async(all_are_stored, what="the importer to be ahead of its client")
        client.cancel()  # as the server does when the connection is closed
        async with asyncio.timeout(DEADLINE_SECONDS):
            await asyncio.wait([client])
            assert await importers[0].wait() == -signal.SIGKILL
        assert "importer-lines" not in {task.get_name() for task in asyncio.all_tasks()}
        assert list((await bench.adder.stored("cats")).dataset.pictures) == told
        monkeypatch.delenv(VARIABLE)
        assert await bench.add(source) == (2, 1)

    monkeypatch.setattr(importing, "BATCH", 1)
    monkeypatch.setenv(VARIABLE, "import.printed=hang:3")
    monkeypatch.setattr(asyncio, "create_subprocess_exec", started)
    asyncio.run(steps())
