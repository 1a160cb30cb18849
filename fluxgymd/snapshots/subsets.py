# SPDX-License-Identifier: Apache-2.0
"""The subsets of a job's pictures: one for each of its parts, or a single one for its dataset. Pure.

Each subset of a job with parts has a folder of its own in the job's copy of the pictures, numbered from 1 in the
order of the parts. Without parts, the copy itself holds the pictures, as in every earlier version.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from fluxgym.errors import InvalidSetting
from fluxgym.protocol.messages import Context, Part, TriggerPlace
from fluxgym.quoting import short
from fluxgymd.snapshots.captions import Captions, compose

MOST_PARTS = 64
"""Each is copied by a process of its own."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Subset:
    place: str
    """Its folder, relative to the job's copy; empty if it is the copy itself."""
    dataset: str
    """What the user gave."""
    repeats: int | None
    regularisation: bool = False
    caption: str | None = None

    def captions(self, how: Captions) -> Captions:
        """How its captions are written. `how`: the job's way. Regularisation pictures must not call up what the LoRA
        learns, so they get no trigger word."""
        return msgspec.structs.replace(how, trigger="") if self.regularisation else how

    def fallback(self, context: Context, how: Captions) -> str:
        """The caption of a picture that has none; empty if it is trained without one."""
        if self.caption and self.caption.strip():
            return compose(self.caption, self.captions(how))
        if self.regularisation or context.trigger_place is TriggerPlace.NONE:
            return ""
        return context.trigger_word or ""


def of(context: Context) -> tuple[Subset, ...]:
    if context.parts is None:
        return (Subset(place="", dataset=str(context.dataset), repeats=context.repeats),)
    return tuple(
        Subset(
            place=str(number),
            dataset=part.dataset,
            repeats=part.repeats if part.repeats is not None else context.repeats,
            regularisation=bool(part.regularisation),
            caption=part.caption,
        )
        for number, part in enumerate(context.parts, start=1)
    )


def folders(context: Context, copy: Path) -> tuple[Path, ...]:
    """The folders of the subsets in a job's copy."""
    return tuple(copy / subset.place for subset in of(context))


def dataset_of(context: Context) -> str | None:
    """The one dataset of a job, also if its folders became parts."""
    if context.parts is None:
        return context.dataset
    names = {part.dataset for part in context.parts if part.folder is not None}
    return names.pop() if len(names) == 1 and all(part.folder is not None for part in context.parts) else None


def are_same(asked: Sequence[Part], recorded: Sequence[Part]) -> bool:
    """Whether the parts that a user asks for are those of the job. What one leaves open may have come from its
    dataset, and the folders of a dataset may have become parts."""
    every: list[Part] = []
    for part in asked:
        those = [each for each in recorded if each.dataset == part.dataset and each.folder is not None]
        each_folder = [msgspec.structs.replace(part, folder=each.folder) for each in those]
        every += each_folder if each_folder and part.folder is None else [part]
    return len(every) == len(recorded) and all(
        getattr(one, field) in (None, getattr(other, field))
        for one, other in zip(every, recorded, strict=True)
        for field in Part.__struct_fields__
    )


def refuse(context: Context) -> None:
    """InvalidSetting if the parts of a training cannot be trained, whatever their pictures are."""
    parts = context.parts
    if parts is None:
        return
    if context.dataset is not None:
        raise _wrong("The job has both dataset and parts; give its pictures as one of them.")
    if not parts:
        raise _wrong("parts is empty; give at least one part, or dataset instead.")
    if len(parts) > MOST_PARTS:
        raise _wrong(f"parts has {len(parts)} entries, but a job can have at most {MOST_PARTS}.")
    if not all(part.dataset for part in parts):
        raise _wrong("parts has an entry without a dataset; give the name of one, or the folder with the pictures.")
    for part in parts:
        if part.folder is not None and "/" in part.dataset:
            raise _wrong(f"{short(part.dataset)} is a path; give {short(part.folder)} at its end, not as folder.")
    _refuse_repeated(parts)
    if all(part.regularisation for part in parts):
        raise _wrong("All parts are regularisation; at least one must have the pictures that the LoRA learns from.")


def _refuse_repeated(parts: Sequence[Part]) -> None:
    seen: dict[str, set[str | None]] = {}
    for part in parts:
        others = seen.setdefault(os.path.normpath(part.dataset) if "/" in part.dataset else part.dataset, set())
        if others and (part.folder is None or others & {part.folder, None}):
            raise _wrong(
                f"{short(part.dataset)} is given as two parts; give it once, with the repeats that you want."
            )
        others.add(part.folder)


def _wrong(sentence: str) -> InvalidSetting:
    return InvalidSetting(sentence, setting="parts")
