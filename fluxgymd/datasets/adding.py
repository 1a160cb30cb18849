# SPDX-License-Identifier: Apache-2.0
"""Adds pictures to a dataset. Each picture is in the store and in the journal before its client hears of it, so a
client that goes away keeps what it was told."""

import time
from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from fluxgymd.background import lanes
from fluxgymd.core.datasets import events as e
from fluxgymd.core.datasets.dataset import Dataset, free_name, stem_of
from fluxgymd.datasets.datasets import LANE, Datasets, sound
from fluxgymd.datasets.importing import Importer, NoPictures
from fluxgymd.datasets.loading import Stored
from fluxgymd.pictures.lines import AnyLine, Duplicate, ImportedPicture, Note, RejectedFile, Wishes
from fluxgymd.store.pictures import file_in

MOST_LEFT_OUT = 1000
"""Sentences in an event."""


class Adder:
    def __init__(self, datasets: Datasets, importer: Importer) -> None:
        self._datasets = datasets
        self._importer = importer

    async def add(
        self, name: str, source: Path, wishes: Wishes
    ) -> AsyncGenerator[tuple[Stored, list[tuple[AnyLine, str | None]]], None]:
        """Imports from a path. For each batch of lines: the dataset with them, and each line, with the name under
        which the dataset has its picture if it was added."""
        stored, _ = await self._datasets.decide(name, lambda _: None, begin=self.begin)
        known = await lanes.answer(f"{LANE}: {name}", _known, stored.dataset, self._importer.store)
        change = 0
        async with aclosing(self._importer.run(source, msgspec.structs.replace(wishes, known=known))) as batches:
            async for batch in batches:
                recording = _Recording(batch, change)
                stored, added = await self._datasets.decide(name, recording.choose, begin=self.begin)
                if added and not change:
                    change = stored.dataset.revision
                yield stored, [(line, recording.names.get(index)) for index, line in enumerate(batch)]

    async def begin(self, name: str) -> list[e.AnyEvent]:
        """The events with which the journal of a plain folder begins."""
        lines: list[AnyLine] = []
        source = self._datasets.folders.folder(name)
        with suppress(NoPictures):  # an empty folder, which somebody made by hand
            async with aclosing(self._importer.run(source, Wishes())) as batches:
                async for batch in batches:
                    lines += batch
        pictures = _new(lines, taken={}, present=set())
        left_out: list[str] = []
        for line in lines:
            if isinstance(line, RejectedFile | Note):
                left_out.append(line.sentence)
            elif isinstance(line, Duplicate):
                left_out.append(f"{line.path} has the same bytes as {line.of}.")
        if not pictures and not left_out:
            return []
        told = tuple(left_out[:MOST_LEFT_OUT])
        return [e.Added(at=time.time(), pictures=tuple(pictures.values()), left_out=told)]

    async def stored(self, name: str) -> Stored:
        """The dataset, or DatasetDamaged; a plain folder is imported first."""
        stored, _ = await self._datasets.decide(name, lambda _: None, begin=self.begin)
        return sound(stored)


@dataclass(slots=True)
class _Recording:
    """One batch of an import, whose pictures become an event."""

    batch: list[AnyLine]
    change: int
    """As in events.Added."""
    names: dict[int, str] = field(default_factory=dict)
    """The names of the pictures that were added, by their places in the batch."""

    def choose(self, dataset: Dataset) -> e.Added | None:
        present = {picture.stored.sha256 for picture in dataset.pictures.values()}
        new = _new(self.batch, taken=dict(dataset.taken), present=present)
        self.names = {index: picture.name for index, picture in new.items()}
        return e.Added(at=time.time(), pictures=tuple(new.values()), change=self.change) if new else None


def _known(dataset: Dataset, store: Path) -> tuple[str, ...]:
    """The SHA-256 of the user's files that need not be stored again. One whose picture was lost from the store is not
    among them, so that it can be added again. Blocks."""
    pictures = [picture.stored for picture in dataset.pictures.values()]
    return tuple(picture.source for picture in pictures if _is_whole(picture, store))


def _is_whole(picture: e.StoredPicture, store: Path) -> bool:
    try:
        size = file_in(store, picture.sha256, Path(picture.name).suffix).stat().st_size
    except FileNotFoundError:
        return False
    return size == picture.size and (picture.mask is None or file_in(store, picture.mask, ".png").exists())


def _new(lines: list[AnyLine], *, taken: dict[str, str], present: set[str]) -> dict[int, e.StoredPicture]:
    """The pictures of an import that a dataset does not have, by their places in `lines`. `taken`: the dataset's
    names without their endings, each with the SHA-256 of its picture; `present`: the SHA-256 of its pictures. Both
    get the new ones too."""
    new = {}
    for index, line in enumerate(lines):
        if isinstance(line, ImportedPicture) and line.sha256 not in present:
            picture = _named(line, taken)
            taken[stem_of(picture.name)] = picture.sha256
            present.add(picture.sha256)
            new[index] = picture
    return new


def _named(line: ImportedPicture, taken: dict[str, str]) -> e.StoredPicture:
    """The picture under a name that is free."""
    picture = e.StoredPicture(
        name=line.name,
        sha256=line.sha256,
        source=line.source,
        width=line.width,
        height=line.height,
        size=line.size,
        caption=line.caption.strip() or None if line.caption is not None else None,
        mask=line.mask,
        repeats=line.repeats,
        class_tokens=line.class_tokens,
        difference_hash=line.difference_hash,
        sharpness=line.sharpness,
        notes=line.notes,
    )
    return msgspec.structs.replace(picture, name=free_name(picture, taken))


def is_known(line: AnyLine, name: str | None) -> bool:
    """Whether the dataset has the picture of this line already. `name`: as from `add`."""
    return isinstance(line, Duplicate) or (isinstance(line, ImportedPicture) and name is None)
