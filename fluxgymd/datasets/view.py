# SPDX-License-Identifier: Apache-2.0
"""Datasets and their pictures as clients see them."""

from fluxgym.names import propose
from fluxgym.protocol import dataset_messages as m
from fluxgymd.core.datasets import words
from fluxgymd.core.datasets.dataset import Change, Dataset, Picture
from fluxgymd.datasets.loading import Damaged, Found, Plain, Stored
from fluxgymd.pictures.files import printable


def show(found: Found) -> m.Dataset:
    name, home = printable(found.folder.name), printable(found.folder)
    match found:
        case Damaged(problem=problem):
            return m.Dataset(name=name, state=m.DatasetState.DAMAGED, home=home, problem=problem)
        case Plain(captions=captions):
            captioned = sum(1 for caption in captions.values() if caption)
            return m.Dataset(
                name=name,
                state=m.DatasetState.PLAIN,
                home=home,
                pictures=len(captions),
                used=len(captions),
                captioned=captioned,
            )
        case Stored(dataset=dataset):
            used = dataset.used
            return m.Dataset(
                name=name,
                state=m.DatasetState.STORED,
                home=home,
                pictures=len(dataset.pictures),
                used=len(used),
                captioned=sum(1 for picture in used if picture.caption),
                size=sum(picture.stored.size for picture in dataset.pictures.values()),
                revision=dataset.revision,
                created_at=dataset.created_at,
                changed_at=dataset.changed_at,
            )


def misnamed(name: str, home: str) -> m.Dataset:
    """A folder whose name no dataset can have."""
    name, home = printable(name), printable(home)
    problem = f"The name {name!r} is not valid for a dataset; rename the folder, for example to {propose(name)!r}."
    return m.Dataset(name=name, state=m.DatasetState.PLAIN, home=home, problem=problem)


def unread(name: str, home: str, problem: str) -> m.Dataset:
    """A dataset that cannot be read at present. `problem`: a sentence."""
    return m.Dataset(name=printable(name), state=m.DatasetState.DAMAGED, home=printable(home), problem=problem)


def show_picture(picture: Picture) -> m.Picture:
    stored = picture.stored
    return m.Picture(
        name=picture.name,
        caption=picture.caption,
        crop=picture.crop,
        used=picture.used,
        masked=stored.mask is not None,
        width=stored.width,
        height=stored.height,
        size=stored.size,
        sha256=stored.sha256,
        repeats=stored.repeats,
        class_tokens=stored.class_tokens,
        notes=list(stored.notes) or None,
        revision=picture.revision,
    )


def pictures(found: Found) -> list[m.Picture]:
    """All pictures by name; none if it is damaged."""
    match found:
        case Stored(dataset=dataset):
            return [show_picture(picture) for picture in dataset.pictures.values()]
        case Plain(captions=captions):
            return [
                m.Picture(name=printable(name), caption=caption, used=True, masked=False)
                for name, caption in captions.items()
            ]
        case Damaged():
            return []


def changes(dataset: Dataset) -> list[m.DatasetChange]:
    """All changes, oldest first."""
    return [show_change(change) for change in dataset.changes]


def show_change(change: Change) -> m.DatasetChange:
    return m.DatasetChange(
        number=change.number,
        kind=words.kind_of(change),
        at=change.event.at,
        pictures=len(change.pictures),
        text=words.sentence(change),
        undone_by=change.undone_by,
    )
