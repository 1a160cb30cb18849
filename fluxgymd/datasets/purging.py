# SPDX-License-Identifier: Apache-2.0
"""Deletes datasets for good, and then the pictures that no dataset needs any more, and the caches that no job has.

A picture is deleted only if every journal, those in the trash included, was read and none has it, and while no import
runs and no dataset is being changed. So a damaged dataset keeps all pictures, until it is repaired or its folder is
moved away.
"""

import logging
import os
from collections.abc import Callable
from pathlib import Path

from fluxgym.errors import NoSuchDataset
from fluxgymd.background import lanes
from fluxgymd.datasets.datasets import Datasets, Disk
from fluxgymd.datasets.importing import Importer
from fluxgymd.datasets.loading import Damaged, Stored, load
from fluxgymd.failpoints import failpoint
from fluxgymd.store.caches import shared_caches
from fluxgymd.store.pictures import PictureStore

log = logging.getLogger(__name__)


class Purger:
    def __init__(
        self,
        datasets: Datasets,
        store: PictureStore,
        importer: Importer,
        *,
        disk: Disk,
        deleted: Callable[[list[str]], None],
    ) -> None:
        """`deleted` is told the SHA-256 of deleted pictures; it may block."""
        self._datasets = datasets
        self._store = store
        self._importer = importer
        self._disk = disk
        self._deleted = deleted

    async def purge(self, name: str) -> None:
        """Deletes the dataset, or the one of this name that was removed last; NoSuchDataset."""
        try:
            removed = await self._datasets.remove(name)
        except NoSuchDataset as error:
            try:
                removed = await self._datasets.removed(name)
            except NoSuchDataset:
                raise error from None
        async with self._importer.quiet() as quiet:
            await self._disk(lambda: self._datasets.folders.purge(removed))
            if quiet and not self._datasets.changing:
                await self._disk(self._collect)
        # What was encoded does not tell whose it was. Tens of thousands of files take seconds, in which the
        # thread that writes the journals has other work.
        await lanes.run("shared caches", shared_caches.trim, self._store.home, 0)

    def _collect(self) -> None:
        with self._datasets.folders.every() as folders:
            used = _used(folders)
            failpoint("stored.collects")
            if used is not None and os.path.isdir(self._store.path):
                self._deleted(self._store.collect(used))


def _used(folders: list[Path]) -> set[str] | None:
    """The SHA-256 of all files that the datasets may need; None if that is not known of one of them."""
    used: set[str] = set()
    for folder in folders:
        try:
            found = load(folder)
        except OSError as error:
            found = Damaged(folder=folder, problem=f"{folder} cannot be read: {error.strerror}")
        if isinstance(found, Damaged):
            log.warning("no pictures are deleted from the store: %s", found.problem)
            return None
        if isinstance(found, Stored):
            used |= found.folding.files()
    return used
