# SPDX-License-Identifier: Apache-2.0
"""Where the pictures of a new job come from: folders of the user's, and stored datasets as they are now."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from fluxgym.errors import InvalidDataset, InvalidSetting
from fluxgym.names import check_name
from fluxgym.protocol.messages import Context, Kind, Part
from fluxgym.quoting import short
from fluxgymd.core.datasets.dataset import Picture
from fluxgymd.datasets.datasets import Datasets
from fluxgymd.datasets.loading import Damaged, Plain, Stored
from fluxgymd.snapshots import subsets
from fluxgymd.snapshots.linked import Item
from fluxgymd.store.pictures import PictureStore

MASKS = "alpha_mask"
"""The trainer's flag with which masks count."""
MOST_CLASSES = 3
"""Classes that are named in a note."""


@dataclass(frozen=True, kw_only=True, slots=True)
class FromStore:
    """A stored dataset, at one revision."""

    name: str
    revision: int
    items: tuple[Item, ...]
    notes: tuple[str, ...]
    """Sentences about what the job does not use."""


@dataclass(frozen=True, kw_only=True, slots=True)
class FromFolder:
    path: Path


Source = FromStore | FromFolder


class Sources:
    def __init__(self, datasets: Datasets, store: PictureStore) -> None:
        self._datasets = datasets
        self._store = store

    async def resolve(self, context: Context) -> tuple[Context, tuple[Source, ...]]:
        """The pictures of each subset of the job, and the settings with what follows from them. No source if there
        are no pictures to copy. InvalidSetting, NoSuchDataset, DatasetDamaged, or InvalidDataset if a dataset has no
        picture to train on."""
        if context.kind is Kind.PROGRAM:
            return context, ()  # the check of the settings says if it has pictures
        subsets.refuse(context)
        if context.parts is None and not context.dataset:
            return context, ()  # likewise
        given = [Part(dataset=str(context.dataset))] if context.parts is None else context.parts
        found = [resolved for part in given for resolved in await self._resolve(context, part)]
        if len(found) > subsets.MOST_PARTS:
            raise InvalidSetting(
                f"Folders with repeats of their own become parts, which makes {len(found)} parts, but a job can have "
                f"at most {subsets.MOST_PARTS}; give repeats for all pictures.",
                setting="repeats",
            )
        sources = tuple(source for _, source in found)
        if context.parts is None and len(found) == 1:
            ((whole, _),) = found
            repeats = whole.repeats if context.repeats is None else context.repeats
            return msgspec.structs.replace(context, dataset=whole.dataset, repeats=repeats), sources
        return msgspec.structs.replace(context, dataset=None, parts=[part for part, _ in found]), sources

    async def _resolve(self, context: Context, part: Part) -> list[tuple[Part, Source]]:
        """The part, or one for each of its folders."""
        if "/" in part.dataset:
            return [(part, FromFolder(path=Path(part.dataset)))]
        found = await self._datasets.find(check_name(part.dataset))
        match found:
            case Damaged():
                raise found.error()
            case Plain(folder=folder):
                return [(msgspec.structs.replace(part, dataset=str(folder)), FromFolder(path=folder))]
            case Stored():
                used = _used(part, found)
                return [self._from_store(context, each, found, used) for each in _by_folder(context, part, used)]

    def _from_store(
        self, context: Context, part: Part, stored: Stored, used: Sequence[Picture]
    ) -> tuple[Part, FromStore]:
        """`used`: the pictures of all folders."""
        name = part.dataset
        if part.folder is not None:
            used = [picture for picture in used if kohya_folder(picture) == part.folder]
        part, notes = _from_folders(context, part, used)
        masks = (context.trainer_options or {}).get(MASKS, ["false"]) != ["false"]
        masked = sum(1 for picture in used if picture.stored.mask is not None)
        if masked and not masks:
            count = "1 picture" if masked == 1 else f"{masked} pictures"
            notes.append(f"The masks of {count} of {name} are not used; -o {MASKS} uses them.")
        source = FromStore(
            name=name,
            revision=stored.dataset.revision,
            items=tuple(self._item(picture, masks=masks) for picture in used),
            notes=tuple(notes),
        )
        return part, source

    def _item(self, picture: Picture, *, masks: bool) -> Item:
        stored, crop = picture.stored, picture.crop
        box = None if crop is None else (crop.left, crop.top, crop.left + crop.width, crop.top + crop.height)
        mask = None
        if masks and stored.mask is not None:
            mask = str(self._store.file(stored.mask, ".png"))
        return Item(
            name=picture.name,
            source=str(self._store.file(stored.sha256, Path(stored.name).suffix)),
            caption=picture.caption,
            box=box,
            mask=mask,
        )


def _used(part: Part, stored: Stored) -> Sequence[Picture]:
    """The pictures to train. InvalidDataset if there are none, or none from the part's folder."""
    name, used = part.dataset, stored.dataset.used
    if not used:
        has = "no pictures" if not stored.dataset.pictures else "no picture that is used"
        sentence = f"The dataset {name} has {has}; add some with `fluxgymctl dataset add {name} PATH`."
        raise InvalidDataset(sentence, path=str(stored.folder))
    folders = sorted({kohya_folder(picture) for picture in used})
    if part.folder is not None and part.folder not in folders:
        there = ", ".join(short(folder) for folder in folders if folder) or "no such folder"
        sentence = f"The dataset {name} has no picture from a folder {short(part.folder)}; it has those from {there}."
        raise InvalidDataset(sentence, path=str(stored.folder))
    return used


def _by_folder(context: Context, part: Part, used: Sequence[Picture]) -> list[Part]:
    """The part itself, or one for each folder in Kohya's layout that its pictures came from: if there are several,
    and neither the part nor the job gives repeats, each has its own."""
    folders = sorted({kohya_folder(picture) for picture in used})
    if part.folder is not None or part.repeats is not None or context.repeats is not None or len(folders) == 1:
        return [part]
    return [msgspec.structs.replace(part, folder=folder) for folder in folders]


def kohya_folder(picture: Picture) -> str:
    """The name of the folder that a picture came from, with its repeats and its class; empty without these."""
    stored = picture.stored
    return "" if stored.repeats is None else f"{stored.repeats}_{stored.class_tokens or ''}"


def _from_folders(context: Context, part: Part, used: Sequence[Picture]) -> tuple[Part, list[str]]:
    """The part with what the folders in Kohya's layout said, from which its pictures were imported, and notes about
    what is not used of that. `used`: its pictures."""
    notes = []
    asked = context.repeats if part.repeats is None else part.repeats
    repeats = {picture.stored.repeats for picture in used} - {None}
    if asked is None and len(repeats) == 1 and all(picture.stored.repeats for picture in used):
        part = msgspec.structs.replace(part, repeats=repeats.pop())
    elif repeats and repeats != {asked}:
        whose = "the job's repeats apply to all pictures" if part.repeats is None else "the part's repeats apply"
        notes.append(f"The repeats that the folders of {part.dataset} gave are not used; {whose}.")
    classes = sorted({picture.stored.class_tokens for picture in used if picture.stored.class_tokens})
    if (part.regularisation or part.folder) and part.caption is None and len(classes) == 1:
        part = msgspec.structs.replace(part, caption=classes[0])
    elif classes and part.caption is None and (part.regularisation or not context.trigger_word):
        advice = (
            "give the part a caption"
            if part.regularisation
            else "give it as the trigger word if the LoRA should learn it"
        )
        notes.append(
            f"The class that the folders of {part.dataset} gave ({', '.join(map(short, classes[:MOST_CLASSES]))}) is "
            f"not used; {advice}."
        )
    return part, notes


def refuse_name(context: Context) -> None:
    """InvalidSetting if the dataset is the name of a stored one, where only a folder can be given."""
    if context.dataset and "/" not in context.dataset:
        raise InvalidSetting(
            f"dataset is {context.dataset!r}, but must be the path of a folder here.", setting="dataset"
        )
