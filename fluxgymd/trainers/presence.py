# SPDX-License-Identifier: Apache-2.0
"""Problems with a training's files that can be found without its trainer: pictures and models that are missing, torn
or unreadable. Blocks on the disk."""

import os
from collections.abc import Iterator
from pathlib import Path

from fluxgym.files import is_file, is_folder
from fluxgym.protocol.messages import Model
from fluxgymd.core.journal.events import Copied, CopiedPart
from fluxgymd.pictures.files import reason
from fluxgymd.snapshots import contents, subsets
from fluxgymd.store.formats import safetensors_header
from fluxgymd.store.formats.safetensors_header import NotSafetensors
from fluxgymd.trainers.port import Problem, ProblemKind, Question

MODEL_TITLES = {
    "transformer": "the Flux transformer",
    "clip_l": "CLIP-L",
    "t5xxl": "T5-XXL",
    "autoencoder": "the autoencoder",
}


def problems(question: Question) -> list[Problem]:
    """All problems, the dataset's first."""
    return [*_of_pictures(question), *of_models(question.context.model or Model()), *_of_first_weights(question)]


def _of_pictures(question: Question) -> Iterator[Problem]:
    context = question.context
    copies = question.pictures == subsets.folders(context, question.folder.dataset)
    setting = "dataset" if context.parts is None else "parts"
    for number, (subset, place) in enumerate(zip(subsets.of(context), question.pictures, strict=True)):
        try:
            before = _as_copied(question, number)
            if copies and (changed := _changed(place, before, Path(subset.dataset))) is not None:
                raise contents.Unfit(place, changed)
            contents.look(place)
        except contents.Unfit as error:
            yield Problem(kind=ProblemKind.DATASET, setting=setting, sentence=str(error), path=str(error.path))


def _as_copied(question: Question, number: int) -> Copied | CopiedPart | None:
    """The pictures of a subset as of the submit; None if that is not known."""
    copied = question.copied
    if copied is None or question.context.parts is None:
        return copied
    return copied.parts[number] if number < len(copied.parts) else None


def _changed(copy: Path, copied: Copied | CopiedPart | None, source: Path) -> str | None:
    """How the job's copy of pictures changed since the submit, and how to put it right; None if it did not.
    `copied`: the pictures as of the submit; `source`: what they were copied from."""
    try:
        now = contents.picture_names(copy)
        if now and (copied is None or contents.hash_of(now) == copied.names):
            return None
        there = contents.picture_names(source) if source.is_absolute() else []  # else it is a stored dataset's name
    except OSError as error:
        return f"The job's copy of its pictures, {copy}, cannot be read: {reason(error)}."
    known = bool(there) and (copied is None or contents.hash_of(there) == copied.names)
    back = f"copy them back from {source}" if known else "put them back, or submit the job again under another name"
    if not now:
        return f"The job's copy of its pictures, {copy}, is gone; {back}."
    missing, added = sorted({*there} - {*now}), sorted({*now} - {*there})
    listed = [f"put {_some(missing)} back from {source}"] if missing else []
    listed += [f"remove {_some(added)}"] if added else []
    how = " and ".join(listed) if known else back
    before = copied.pictures if copied is not None else 0
    what = f"it holds {len(now)} of them, not {before} as" if len(now) != before else "it holds other pictures than"
    return f"The job's copy of its pictures, {copy}, has changed: {what} when the job was submitted; {how}."


def _some(names: list[str]) -> str:
    more = f" and {len(names) - contents.MOST_LISTED} more" if len(names) > contents.MOST_LISTED else ""
    return ", ".join(names[: contents.MOST_LISTED]) + more


def of_models(model: Model) -> Iterator[Problem]:
    """All problems with a model's files."""
    for field, title in MODEL_TITLES.items():
        path = Path(str(getattr(model, field)))
        setting = f"model.{field}"
        absent = _absent(path, title)
        if absent is not None:
            yield Problem(
                kind=ProblemKind.MISSING_FILE,
                setting=setting,
                sentence=f"{absent}; give its path as {setting} or with fluxgymctl --{field.replace('_', '-')}.",
                path=str(path),
            )
        elif field in ("transformer", "clip_l") and (wrong := _unreadable(path)) is not None:
            # The other two may have a different format.
            yield Problem(kind=ProblemKind.MODEL, setting=setting, sentence=wrong, path=str(path))
    if model.tokenizers is not None and (wrong := _without_tokenizers(model.tokenizers)) is not None:
        yield Problem(
            kind=ProblemKind.MISSING_FILE, setting="model.tokenizers", sentence=wrong, path=model.tokenizers
        )


def _absent(path: Path, title: str) -> str | None:
    """Why there is no usable file, as a sentence that the caller completes with what to do; None if there is one."""
    try:
        return None if is_file(path) else f"The file {path} for {title} does not exist"
    except OSError as error:
        return f"The file {path} for {title} cannot be examined: {reason(error)}"


def _without_tokenizers(folder: str) -> str | None:
    try:
        return None if is_folder(folder) else f"The folder of tokenizers {folder} does not exist."
    except OSError as error:
        return f"The folder of tokenizers {folder} cannot be examined: {reason(error)}."


def _unreadable(path: Path) -> str | None:
    try:
        safetensors_header.check(path)
    except NotSafetensors as error:
        return f"A model file cannot be used: {error}."
    except OSError as error:
        return f"{error.filename} cannot be read: {error.strerror}."
    return None


def _of_first_weights(question: Question) -> Iterator[Problem]:
    path = first_weights(question)
    if path is None or may_be_made(question, path):
        return
    try:
        wrong = None if is_file(path) else f"trainer_options.network_weights: {path} does not exist."
    except OSError as error:
        wrong = f"trainer_options.network_weights: {path} cannot be examined: {reason(error)}."
    if wrong is not None:
        yield Problem(kind=ProblemKind.MISSING_FILE, setting="network_weights", sentence=wrong, path=str(path))


def first_weights(question: Question) -> Path | None:
    """The LoRA with whose weights the training begins, if any (--network_weights)."""
    words = (question.context.trainer_options or {}).get("network_weights")
    return Path(os.path.normpath(question.folder.path / words[0])) if words else None


def may_be_made(question: Question, path: Path) -> bool:
    """Whether a job that runs earlier may still make this file."""
    folder = question.folder.path
    of_another_job = path.is_relative_to(folder.parent) and not path.is_relative_to(folder)
    return of_another_job or bool(question.context.after)
