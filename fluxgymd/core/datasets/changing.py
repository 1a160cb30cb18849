# SPDX-License-Identifier: Apache-2.0
"""The events that a client's wishes become. A FluxgymError says why a wish is refused; nothing is half done."""

from collections.abc import Iterable, Sequence

from msgspec import UNSET

from fluxgym.errors import InvalidValue, NoSuchChange, NoSuchPicture, NothingToUndo, StaleChange
from fluxgym.protocol.dataset_messages import Crop, PictureChange, Replacement
from fluxgymd.core.datasets import events as e
from fluxgymd.core.datasets.dataset import Change, Dataset, Picture, crop_problem, stem_of
from fluxgymd.core.datasets.words import quoted

MOST_CAPTION = 100_000
"""Characters. The text encoders read a few hundred words."""
MOST_CHANGES = 100_000
"""Pictures in one call."""


def edited(
    dataset: Dataset, name: str, changes: Sequence[PictureChange], *, revision: int | None, now: float
) -> e.Edited | None:
    """The event of these changes; None if they change nothing."""
    edits = {}
    for change in changes:
        picture = _picture(dataset, name, change.picture)
        if change.picture in edits:
            raise InvalidValue(f"changes names {change.picture} twice.", parameter="changes")
        _refuse_stale(picture, name, revision)
        edits[change.picture] = _edit(picture, change)
    edits = {key: edit for key, edit in edits.items() if _says_anything(edit)}
    return e.Edited(at=now, edits=tuple(edits.values())) if edits else None


def _edit(picture: Picture, change: PictureChange) -> e.Edit:
    """The edit; what equals the present state is left out."""
    caption = UNSET if change.caption is None else (caption_of(change.caption, change.picture) or None)
    if change.crop is not None and change.whole:
        raise InvalidValue(f"{change.picture} can't be whole and have a crop.", parameter="whole")
    crop = None if change.whole else UNSET if change.crop is None else _crop(picture, change.crop)
    return e.Edit(
        picture=change.picture,
        caption=UNSET if caption == picture.caption else caption,
        crop=UNSET if crop == picture.crop else crop,
        used=UNSET if change.used in (None, picture.used) else bool(change.used),
    )


def _says_anything(edit: e.Edit) -> bool:
    return not edit.caption is edit.crop is edit.used is UNSET


def _crop(picture: Picture, crop: Crop) -> Crop | None:
    stored = picture.stored
    problem = crop_problem(crop, stored)
    if problem is not None:
        part = f"{crop.width}x{crop.height}+{crop.left}+{crop.top}"
        raise InvalidValue(f"The crop {part} is not in {picture.name}: {problem}.", parameter="crop")
    return None if (crop.width, crop.height) == (stored.width, stored.height) else crop


def caption_of(text: str, picture: str) -> str:
    """A caption, without the blanks around it. InvalidValue if it cannot be one."""
    if len(text) > MOST_CAPTION:
        sentence = f"The caption of {picture} has {len(text)} characters, but may have at most {MOST_CAPTION}."
        raise InvalidValue(sentence, parameter="caption")
    if "\0" in text:
        raise InvalidValue(f"The caption of {picture} contains a NUL character.", parameter="caption")
    return text.strip()


def replacements(dataset: Dataset, name: str, *, find: str, replace: str, revision: int | None) -> list[Replacement]:
    """What a replacement changes, by picture."""
    if not find:
        raise InvalidValue("find is empty; give the text to replace.", parameter="find")
    found = []
    for picture in dataset.pictures.values():
        before = picture.caption or ""
        count = before.count(find)
        if not count:
            continue
        if len(before) + count * len(replace) > MOST_CAPTION:
            sentence = f"The caption of {picture.name} would have more than {MOST_CAPTION} characters."
            raise InvalidValue(sentence, parameter="replace")
        after = caption_of(before.replace(find, replace), picture.name)
        if after != before:
            _refuse_stale(picture, name, revision)
            found.append(Replacement(picture=picture.name, before=before, after=after))
    return found


def replaced(found: Iterable[Replacement], *, find: str, now: float) -> e.Edited | None:
    """The event of a replacement; None if it changes nothing."""
    edits = tuple(e.Edit(picture=one.picture, caption=one.after or None) for one in found)
    return e.Edited(at=now, edits=edits, found=find) if edits else None


def undone(dataset: Dataset, name: str, number: int | None, *, now: float) -> e.Undone:
    """Undoes a change; without a number, the latest one that is in effect and is not an undo."""
    changes = [change for change in dataset.changes if not isinstance(change.event, e.Created)]
    if number is None:
        usual = [one for one in changes if one.undone_by is None and not isinstance(one.event, e.Undone)]
        if not usual:
            raise NothingToUndo(f"The dataset {name} has no change to undo.", name=name)
        return e.Undone(at=now, change=usual[-1].number)
    change = next((one for one in changes if one.number == number), None)
    if change is None:
        known = ", ".join(str(one.number) for one in changes[-5:])
        which = f"the last ones are {known}" if known else "it has none yet"
        raise NoSuchChange(
            f"The dataset {name} has no change {number} that can be undone; {which}.", name=name, change=number
        )
    _refuse_undone(change, name)
    return e.Undone(at=now, change=number)


def _refuse_undone(change: Change, name: str) -> None:
    if change.undone_by is not None:
        raise NothingToUndo(
            f"Change {change.number} of {name} is undone already; to bring it back, undo change {change.undone_by}.",
            name=name,
        )


def _picture(dataset: Dataset, name: str, picture: str) -> Picture:
    try:
        return dataset.pictures[picture]
    except KeyError:
        raise no_such_picture(name, picture, dataset.pictures) from None


def no_such_picture(name: str, picture: str, known: Iterable[str]) -> NoSuchPicture:
    """The error, which names the picture that is meant if only case or the ending differ: the import of a plain
    folder makes IMG_1.jpg of IMG_1.JPG."""
    stem = stem_of(picture)
    near = next((one for one in known if stem_of(one) == stem), None)
    what = f"did you mean {near}?" if near else f"`fluxgymctl dataset show {name}` lists them."
    return NoSuchPicture(
        f"The dataset {name} has no picture {quoted(picture)}; {what}", name=name, picture=quoted(picture)
    )


def _refuse_stale(picture: Picture, name: str, revision: int | None) -> None:
    if revision is not None and picture.revision > revision:
        raise StaleChange(
            f"{picture.name} was changed in revision {picture.revision} of {name}, after revision {revision} that "
            "you saw; read it again, and repeat the change if you still want it.",
            name=name,
            picture=picture.name,
            revision=picture.revision,
        )
