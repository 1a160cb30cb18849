# SPDX-License-Identifier: Apache-2.0
"""The changes of a dataset as sentences."""

from msgspec import UNSET

from fluxgym.protocol.dataset_messages import DatasetChangeKind
from fluxgymd.core.datasets import events as e
from fluxgymd.core.datasets.dataset import Change

MOST_TOLD = 5
QUOTED = 160
"""Characters."""


def quoted(text: str) -> str:
    """The text, or the beginning of a long one."""
    return text if len(text) <= QUOTED else f"{text[:QUOTED]}…"


def kind_of(change: Change) -> DatasetChangeKind:
    match change.event:
        case e.Created():
            return DatasetChangeKind.CREATED
        case e.Added():
            return DatasetChangeKind.ADDED
        case e.Undone():
            return DatasetChangeKind.UNDONE
        case e.Edited(found=found):
            return DatasetChangeKind.EDITED if found is None else DatasetChangeKind.REPLACED


def sentence(change: Change) -> str:
    """What the change did."""
    match change.event:
        case e.Created():
            return "The dataset was created."
        case e.Added(left_out=left_out):
            return " ".join([f"{_counted(change, 'was', 'were')} added.", *_first(left_out)])
        case e.Undone(change=number):
            return f"Change {number} was undone."
        case e.Edited(found=None, edits=edits):
            return _edited(change, edits)
        case e.Edited(found=found):
            return f"{quoted(found or '')!r} was replaced in {_of(change, 'the caption', 'the captions')}."


def _first(sentences: tuple[str, ...]) -> list[str]:
    """The first few sentences, and how many more there are."""
    more = len(sentences) - MOST_TOLD
    return [*sentences[:MOST_TOLD], f"There are {more} more like these."] if more > 0 else list(sentences)


def _edited(change: Change, edits: tuple[e.Edit, ...]) -> str:
    captions = any(edit.caption is not UNSET for edit in edits)
    crops = any(edit.crop is not UNSET for edit in edits)
    used = {edit.used for edit in edits if edit.used is not UNSET}
    if not captions and not crops and len(used) == 1:
        return f"{_counted(change, 'is', 'are')} {'used again' if used == {True} else 'no longer used'}."
    named = [part for part, changed in (("caption", captions), ("crop", crops), ("use", used)) if changed]
    many = [f"{part}s" for part in named]
    was = "was" if len(named) == len(change.pictures) == 1 else "were"
    return f"The {_of(change, ' and '.join(named), ' and '.join(many))} {was} changed."


def _of(change: Change, one: str, many: str) -> str:
    return f"{one if len(change.pictures) == 1 else many} of {_pictures(change)}"


def _counted(change: Change, one: str, many: str) -> str:
    return f"{_pictures(change)} {one if len(change.pictures) == 1 else many}"


def _pictures(change: Change) -> str:
    if len(change.pictures) == 1:
        (only,) = change.pictures
        return only
    return f"{len(change.pictures)} pictures"
