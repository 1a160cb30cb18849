# SPDX-License-Identifier: Apache-2.0
"""Where the pictures of a new job come from: a folder of the user's, or a stored dataset as it is now."""

from dataclasses import dataclass
from pathlib import Path

import msgspec

from fluxgym.errors import InvalidDataset, InvalidSetting
from fluxgym.messages import Context, Kind
from fluxgym.names import check_name
from fluxgym.quoting import short
from fluxgymd.core.datasets.dataset import Picture
from fluxgymd.datasets.linked import Part
from fluxgymd.store.pictures import PictureStore
from fluxgymd.stored.datasets import Datasets
from fluxgymd.stored.loading import Damaged, Plain, Stored

MASKS = "alpha_mask"
"""The trainer's flag with which masks count."""
MOST_CLASSES = 3
"""Classes that are named in a note."""


@dataclass(frozen=True, kw_only=True, slots=True)
class FromStore:
    """A stored dataset, at one revision."""

    name: str
    revision: int
    parts: tuple[Part, ...]
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

    async def resolve(self, context: Context) -> tuple[Context, Source | None]:
        """The pictures that `dataset` means, and the settings with what follows from them. None if there are none to
        copy. NoSuchDataset, DatasetDamaged, or InvalidDataset if it has no picture to train on."""
        dataset = context.dataset
        if dataset is None or context.kind is Kind.PROGRAM or not dataset:
            return context, None  # the check of the settings says what is wrong
        if "/" in dataset:
            return context, FromFolder(path=Path(dataset))
        found = await self._datasets.find(check_name(dataset))
        match found:
            case Damaged():
                raise found.error()
            case Plain(folder=folder):
                return msgspec.structs.replace(context, dataset=str(folder)), FromFolder(path=folder)
            case Stored():
                return self._from_store(context, dataset, found)

    def _from_store(self, context: Context, name: str, stored: Stored) -> tuple[Context, FromStore]:
        used = stored.dataset.used
        if not used:
            has = "no pictures" if not stored.dataset.pictures else "no picture that is used"
            sentence = f"The dataset {name} has {has}; add some with `fluxgymctl dataset add {name} PATH`."
            raise InvalidDataset(sentence, path=str(stored.folder))
        repeats = {picture.stored.repeats for picture in used} - {None}
        notes = []
        if context.repeats is None and len(repeats) == 1 and all(picture.stored.repeats for picture in used):
            context = msgspec.structs.replace(context, repeats=repeats.pop())
        elif repeats and repeats != {context.repeats}:
            notes.append(
                f"The repeats that the folders of {name} gave are not used; the job's repeats apply to all pictures."
            )
        classes = sorted({picture.stored.class_tokens for picture in used if picture.stored.class_tokens})
        if classes and not context.trigger_word:
            notes.append(
                f"The class that the folders of {name} gave ({', '.join(map(short, classes[:MOST_CLASSES]))}) is not "
                "used; give it as the trigger word if the LoRA should learn it."
            )
        masks = (context.trainer_options or {}).get(MASKS, ["false"]) != ["false"]
        masked = sum(1 for picture in used if picture.stored.mask is not None)
        if masked and not masks:
            count = "1 picture" if masked == 1 else f"{masked} pictures"
            notes.append(f"The masks of {count} of {name} are not used; -o {MASKS} uses them.")
        source = FromStore(
            name=name,
            revision=stored.dataset.revision,
            parts=tuple(self._part(picture, masks=masks) for picture in used),
            notes=tuple(notes),
        )
        return context, source

    def _part(self, picture: Picture, *, masks: bool) -> Part:
        stored, crop = picture.stored, picture.crop
        box = None if crop is None else (crop.left, crop.top, crop.left + crop.width, crop.top + crop.height)
        mask = None
        if masks and stored.mask is not None:
            mask = str(self._store.file(stored.mask, ".png"))
        return Part(
            name=picture.name,
            source=str(self._store.file(stored.sha256, Path(stored.name).suffix)),
            caption=picture.caption,
            box=box,
            mask=mask,
        )


def refuse_name(context: Context) -> None:
    """InvalidSetting if the dataset is the name of a stored one, where only a folder can be given."""
    if context.dataset and "/" not in context.dataset:
        raise InvalidSetting(
            f"dataset is {context.dataset!r}, but must be the path of a folder here.", setting="dataset"
        )
