# SPDX-License-Identifier: Apache-2.0
"""kill -9 at every failpoint that a change of a dataset passes: it is done completely or not at all, and what was
acknowledged holds."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from fluxgym import dataset_methods as m
from fluxgym.dataset_messages import PictureChange
from fluxgym.errors import NameTaken, NoSuchDataset
from fluxgymd.core.datasets import events as e
from fluxgymd.core.datasets.dataset import Dataset
from fluxgymd.core.events import encode
from fluxgymd.store.dataset_folders import DatasetFolders
from fluxgymd.store.home import JOURNAL
from fluxgymd.stored.loading import Stored, load
from tests.core.datasets.histories import added, created
from tests.crash import names
from tests.crash.mortal import MortalDaemon
from tests.crash.turns import PASSES, Turn, kill_in


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
