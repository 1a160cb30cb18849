# SPDX-License-Identifier: Apache-2.0
"""kill -9 at every failpoint that a change of a dataset passes: it is done completely or not at all, and what was
acknowledged holds."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from fluxgym.errors import NameTaken, NoSuchDataset
from fluxgym.protocol import dataset_methods as m
from fluxgym.protocol.client import Connection
from fluxgym.protocol.dataset_messages import PictureChange
from fluxgymd.core.datasets import events as e
from fluxgymd.core.datasets.dataset import Dataset
from fluxgymd.core.journal.events import encode
from fluxgymd.datasets.loading import Plain, Stored, load
from fluxgymd.store.dataset_folders import DatasetFolders
from fluxgymd.store.home import JOURNAL
from fluxgymd.store.pictures import PictureStore
from tests.core.datasets.histories import added, created
from tests.crash import names
from tests.crash.mortal import MortalDaemon
from tests.crash.turns import PASSES, Turn, kill_in, take
from tests.pictures.drawing import draw


@pytest.fixture
def daemon(folder: Path) -> Iterator[MortalDaemon]:
    with MortalDaemon(folder, {}, passes=dict.fromkeys(names.names(), PASSES)) as daemon:
        daemon.start()
        yield daemon


def test_promise_3_a_change(daemon: MortalDaemon) -> None:
    journal = daemon.home / "datasets/cats" / JOURNAL
    journal.parent.mkdir(parents=True)
    journal.write_bytes(encode(created()) + encode(added("a.png")))

    def now() -> Dataset:
        found = load(journal.parent)
        assert isinstance(found, Stored)
        return found.dataset

    def change(*, used: bool) -> Turn:
        def ask() -> None:
            wanted = [PictureChange(picture="a.png", used=used)]
            daemon.call(m.CHANGE_PICTURES, m.ChangeParameters(name="cats", changes=wanted))

        return Turn(ask, lambda: now().pictures["a.png"].used == used)

    at = ("journal.opened", "journal.written", "journal.synced", "stored.recorded")
    kill_in(daemon, change(used=False), change(used=True), at=names.names(*at))
    assert all(isinstance(one.event, (e.Created, e.Added, e.Edited)) for one in now().changes)


def test_promises_3_and_8_a_dataset_appears_moves_and_goes_as_a_whole(daemon: MortalDaemon) -> None:
    folders = DatasetFolders(daemon.home)

    def create() -> None:
        with suppress(NameTaken):  # only the answer was lost
            daemon.call(m.CREATE_DATASET, m.DatasetName(name="cats"))

    def remove() -> None:
        with suppress(NoSuchDataset):
            daemon.call(m.REMOVE_DATASET, m.RemoveDatasetParameters(name="cats"))

    def restore() -> None:
        with suppress(NameTaken, NoSuchDataset):
            daemon.call(m.RESTORE_DATASET, m.DatasetName(name="cats"))

    def purge() -> None:
        with suppress(NoSuchDataset):
            daemon.call(m.REMOVE_DATASET, m.RemoveDatasetParameters(name="cats", purge=True))

    def there() -> bool:
        return folders.names() == ["cats"] and isinstance(load(folders.folder("cats")), Stored)

    def gone() -> bool:
        return folders.names() == []

    daemon.call(m.CREATE_DATASET, m.DatasetName(name="other"))
    daemon.call(m.REMOVE_DATASET, m.RemoveDatasetParameters(name="other"))
    kill_in(
        daemon,
        Turn(create, there),
        Turn(remove, gone),
        at=names.names("stored.built", "stored.created", "stored.removed"),
    )
    create()
    kill_in(
        daemon,
        Turn(remove, gone),
        Turn(restore, there),
        at=names.names("stored.restored"),
    )
    kill_in(
        daemon,
        Turn(purge, gone),
        Turn(create, there),
        at=names.names("stored.purged", "stored.collects"),
    )
    assert [removed.name for removed in folders.trash()].count("other") == 1


def test_promise_8_a_plain_folder_becomes_a_dataset_as_a_whole(daemon: MortalDaemon) -> None:
    folder = daemon.home / "datasets/cats"
    drawn = draw(folder / "a.png").read_bytes()

    def check() -> None:
        """Looks at its pictures for the first time, which imports them."""
        with Connection(daemon.socket) as connection:
            for _ in connection.stream(m.CHECK_DATASET, m.CheckParameters(name="cats")):
                pass

    def is_stored() -> bool:
        found = load(folder)
        return isinstance(found, Stored) and list(found.dataset.pictures) == ["a.png"]

    def is_whole() -> bool:
        stored = [path for path in PictureStore(daemon.home).path.rglob("*") if path.is_file()]
        assert [hashlib.sha256(path.read_bytes()).hexdigest() for path in stored] == [path.stem for path in stored]
        return (folder / "a.png").read_bytes() == drawn and (isinstance(load(folder), Plain) or is_stored())

    daemon.kill()
    daemon.rules = {"stored.adopted": 1}
    assert take(daemon, Turn(check, is_stored), whole=is_whole) == ["stored.adopted"]
    assert is_whole()
