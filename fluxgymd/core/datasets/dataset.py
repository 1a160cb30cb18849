# SPDX-License-Identifier: Apache-2.0
"""The state of a stored dataset, which is the fold of its events.

A change that was undone is left out of the fold, as if it had never been made; later changes count as before. So any
change can be undone, in any order, and an undo is undone in the same way.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from msgspec import UNSET

from fluxgym.protocol.dataset_messages import Crop
from fluxgymd.core.datasets import events as e
from fluxgymd.core.job import BadHistory


@dataclass(frozen=True, kw_only=True, slots=True)
class Picture:
    """A picture as it is now."""

    stored: e.StoredPicture
    caption: str | None
    crop: Crop | None
    used: bool
    revision: int
    """The number of the last event that concerned it."""

    @property
    def name(self) -> str:
        return self.stored.name


@dataclass(frozen=True, kw_only=True, slots=True)
class Change:
    """One change: an event, or all events of one import."""

    number: int
    event: e.AnyEvent
    """Its first event."""
    pictures: frozenset[str]
    """The names of those that it concerned."""
    undone_by: int | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Dataset:
    id: str
    created_at: float
    changed_at: float
    revision: int
    """The number of events."""
    pictures: Mapping[str, Picture]
    """By name, in order."""
    changes: tuple[Change, ...]
    taken: Mapping[str, str] = field(repr=False)
    """The stem of each name that any change has used, casefolded -> the picture's SHA-256."""

    @property
    def used(self) -> list[Picture]:
        return [picture for picture in self.pictures.values() if picture.used]


def fold(history: Sequence[e.AnyEvent]) -> Dataset:
    """The dataset after all these events. BadHistory if there are no events, or if they contradict each other."""
    folding = Folding()
    for event in history:
        folding.take(event)
    return folding.dataset()


class Folding:
    """The events so far, and what the next one may refer to."""

    def __init__(self) -> None:
        self.events: list[e.AnyEvent] = []
        self._of_change: dict[int, set[str]] = {}
        self._touched: dict[str, int] = {}
        self._stored: dict[str, e.StoredPicture] = {}
        self._taken: dict[str, str] = {}

    def take(self, event: e.AnyEvent) -> None:
        """Adds one event. BadHistory if it cannot follow the ones before it; then nothing has changed."""
        change, names = self.check(event)
        if isinstance(event, e.Added):
            self._stored |= {picture.name: picture for picture in event.pictures}
            self._taken |= {stem_of(picture.name): picture.sha256 for picture in event.pictures}
        self.events.append(event)
        self._of_change.setdefault(change, set()).update(names)
        self._touched |= dict.fromkeys(names, len(self.events))

    def check(self, event: e.AnyEvent) -> tuple[int, set[str]]:
        """The change that the event would belong to, and the pictures that it concerns. BadHistory."""
        number = len(self.events) + 1
        if isinstance(event, e.Created) != (number == 1):
            raise BadHistory("it was created twice" if self.events else "it does not begin with created")
        change, names = number, set[str]()
        match event:
            case e.Added():
                change = event.change or number
                if change != number and not isinstance(self._first(change), e.Added):
                    raise BadHistory(f"pictures were added by change {change}, which is not an import")
                names = {self._check_new(picture) for picture in event.pictures}
            case e.Edited():
                names = {self._check_edit(edit) for edit in event.edits}
            case e.Undone():
                self._first(event.change)
                names = set(self._of_change[event.change])
        return change, names

    def _first(self, change: int) -> e.AnyEvent:
        """The first event of a change that can be undone."""
        if change < 2 or change not in self._of_change:
            raise BadHistory(f"it refers to change {change}, which does not exist")
        return self.events[change - 1]

    def _check_new(self, picture: e.StoredPicture) -> str:
        if self._taken.get(stem_of(picture.name), picture.sha256) != picture.sha256:
            raise BadHistory(f"two different pictures are named {picture.name!r}")
        return picture.name

    def _check_edit(self, edit: e.Edit) -> str:
        picture = self._stored.get(edit.picture)
        if picture is None:
            raise BadHistory(f"the picture {edit.picture!r} was changed before it was added")
        if isinstance(edit.crop, Crop) and crop_problem(edit.crop, picture) is not None:
            raise BadHistory(f"the crop of {edit.picture!r} is not in the picture")
        return edit.picture

    def files(self) -> set[str]:
        """The SHA-256 of all files in the store that the dataset may need, also after any undo."""
        masks = {picture.mask for picture in self._stored.values() if picture.mask is not None}
        return {picture.sha256 for picture in self._stored.values()} | masks

    def dataset(self) -> Dataset:
        """The state after the events so far. BadHistory if there are no events."""
        if not self.events:
            raise BadHistory("it has no events")
        created = self.events[0]
        assert isinstance(created, e.Created)
        undone_by = self._undone()
        pictures: dict[str, Picture] = {}
        change = 0
        for number, event in enumerate(self.events, start=1):
            change = (event.change or number) if isinstance(event, e.Added) else number
            if change in undone_by:
                continue
            if isinstance(event, e.Added):
                for picture in event.pictures:
                    pictures.setdefault(picture.name, self._new(picture))
            elif isinstance(event, e.Edited):
                for edit in event.edits:
                    if edit.picture in pictures:  # else its import was undone
                        pictures[edit.picture] = _edited(pictures[edit.picture], edit)
        return Dataset(
            id=created.id,
            created_at=created.at,
            changed_at=self.events[-1].at,
            revision=len(self.events),
            pictures={name: pictures[name] for name in sorted(pictures)},
            changes=tuple(
                Change(
                    number=number,
                    event=self.events[number - 1],
                    pictures=frozenset(names),
                    undone_by=undone_by.get(number),
                )
                for number, names in self._of_change.items()
            ),
            taken=dict(self._taken),
        )

    def _undone(self) -> dict[int, int]:
        """Each change that does not count -> the undo that says so. An undo that was itself undone says nothing, so
        the last ones are looked at first."""
        found: dict[int, int] = {}
        for number in range(len(self.events), 0, -1):
            event = self.events[number - 1]
            if isinstance(event, e.Undone) and number not in found:
                found[event.change] = number
        return found

    def _new(self, stored: e.StoredPicture) -> Picture:
        return Picture(
            stored=stored, caption=stored.caption, crop=None, used=True, revision=self._touched[stored.name]
        )


def _edited(picture: Picture, edit: e.Edit) -> Picture:
    return Picture(
        stored=picture.stored,
        caption=picture.caption if edit.caption is UNSET else edit.caption,
        crop=picture.crop if edit.crop is UNSET else edit.crop,
        used=picture.used if edit.used is UNSET else edit.used,
        revision=picture.revision,
    )


def crop_problem(crop: Crop, picture: e.StoredPicture) -> str | None:
    """Why the crop is not a part of the picture, as a clause; None if it is."""
    if crop.width < 1 or crop.height < 1:
        return "it has no area"
    within = 0 <= crop.left <= picture.width - crop.width and 0 <= crop.top <= picture.height - crop.height
    return None if within else f"the picture has {picture.width} x {picture.height} pixels"


def stem_of(name: str) -> str:
    """The name without its ending, as it must be unique: two pictures of one stem would share a caption and a cache,
    and some file systems do not tell upper from lower case."""
    return name.rpartition(".")[0].casefold() or name.casefold()


def free_name(picture: e.StoredPicture, taken: Mapping[str, str]) -> str:
    """A name for a new picture that no other picture has: its own if it is free, otherwise with a number.

    `taken`: as in Dataset. A picture that was there before gets its name again.
    """
    stem, dot, ending = picture.name.rpartition(".")
    number = 1
    name = picture.name
    while taken.get(stem_of(name), picture.sha256) != picture.sha256:
        number += 1
        name = f"{stem}-{number}{dot}{ending}"
    return name
