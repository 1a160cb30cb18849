# SPDX-License-Identifier: Apache-2.0
"""What can be known before a job is queued: that the trainer takes its flags, its files are there, its GPUs and the
jobs that it waits for too, and that its checkpoints fit on the disk. Looks only, and changes nothing.
"""

import os
import shutil
from contextlib import suppress
from pathlib import Path

from fluxgym.errors import FileMissing, InvalidSetting, NotEnoughSpace
from fluxgym.messages import Context, Kind, Model
from fluxgymd import lanes
from fluxgymd.core.resume import Trainer
from fluxgymd.core.schedule import allowed_gpus
from fluxgymd.engine.book import Book
from fluxgymd.gpus.machine import Gpus
from fluxgymd.store.safetensors_header import NotSafetensors
from fluxgymd.trainers import kohya
from fluxgymd.trainers.flags import KnownFlags
from fluxgymd.trainers.planned_size import planned_bytes

MODEL_TITLES = {
    "transformer": "the Flux transformer",
    "clip_l": "CLIP-L",
    "t5xxl": "T5-XXL",
    "autoencoder": "the autoencoder",
}


class Preflight:
    def __init__(self, book: Book, flags: KnownFlags, gpus: Gpus) -> None:
        self._book = book
        self._flags = flags
        self._gpus = gpus

    async def check(self, context: Context) -> None:
        """A FluxgymError says what is wrong. `context`: complete (trainers/settings.py)."""
        for name in context.after or ():
            self._book.entry(name)
        self._refuse_circle(context)
        self._check_gpus(context)
        if context.kind is Kind.PROGRAM:
            await lanes.answer(f"the program of {context.name}", _check_program, context)
            return
        options = context.trainer_options or {}
        kohya.check_options(options)
        folder = self._book.home.folder(context.name)
        # Only ours reads the whole line, so it is ours that is written.
        line = kohya.arguments(context, folder, None, trainer=Trainer.OURS)
        await self._flags.check(options, line, cwd=folder.path)
        files = f"the models and the pictures of {context.name}"
        await lanes.answer(files, _check_first_weights, context, folder.path)
        await lanes.answer(files, _check_space, context, self._book.home.path)

    def _refuse_circle(self, context: Context) -> None:
        """A job that waits for itself by way of others would wait for ever. They may wait for its name already: it
        was that of a job which was removed."""
        seen: set[str] = set()
        ahead = list(context.after or ())
        while ahead:
            name = ahead.pop()
            if name == context.name:
                raise InvalidSetting(f"after would make {context.name} wait for itself.", setting="after")
            if name not in seen and self._book.has(name):
                seen.add(name)
                other = self._book.entry(name).job
                ahead += other.context.after or () if other is not None else ()

    def _check_gpus(self, context: Context) -> None:
        known = self._gpus.uuids
        if not self._gpus.asked or self._gpus.uncertain:
            return  # then it waits until they are known
        for asked in context.gpus or ():
            if not allowed_gpus([asked], known):
                has = f"0 to {len(known) - 1}, or their UUIDs" if known else "none"
                raise InvalidSetting(f"There is no GPU {asked} on this machine; it has {has}.", setting="gpus")
        if (context.gpu_count or 1) > max(1, len(known)):
            raise InvalidSetting(
                f"gpu_count is {context.gpu_count}, but this machine has {len(known)}.", setting="gpu_count"
            )


def _check_program(context: Context) -> None:
    program = Path((context.program or [""])[0])
    if not program.is_file() or not os.access(program, os.X_OK):
        raise FileMissing(f"There is no program at {program} that can be run.", path=str(program))


def _check_first_weights(context: Context, folder: Path) -> None:
    """The LoRA that a training begins with is there, unless a job that comes before may still make it. Blocks."""
    words = (context.trainer_options or {}).get("network_weights")
    if not words or context.after:
        return
    path = Path(os.path.normpath(folder / words[0]))
    of_another_job = path.is_relative_to(folder.parent) and not path.is_relative_to(folder)
    if not of_another_job and not path.is_file():
        raise FileMissing(
            f"There is no file {path}, with whose weights trainer_options.network_weights lets the training begin.",
            path=str(path),
        )


def _check_space(context: Context, home: Path) -> None:
    """Every model file is there and whole, and the planned states fit on the disk. Blocks."""
    model = context.model or Model()
    for field, title in MODEL_TITLES.items():
        path = Path(str(getattr(model, field)))
        if not path.is_file():
            raise FileMissing(
                f"There is no file {path}, where {title} was looked for; give its path as model.{field}, "
                f"for fluxgymctl --{field.replace('_', '-')}.",
                path=str(path),
            )
    if model.tokenizers is not None and not Path(model.tokenizers).is_dir():
        raise FileMissing(f"There is no folder of tokenizers at {model.tokenizers}.", path=model.tokenizers)
    try:
        required = planned_bytes(context) + _dataset_bytes(Path(str(context.dataset)))
    except NotSafetensors as error:
        raise InvalidSetting(f"A model file cannot be used: {error}.", setting="model") from None
    except OSError as error:
        raise InvalidSetting(f"{error.filename} cannot be read: {error.strerror}.", setting="model") from None
    available = shutil.disk_usage(home).free
    if required > available:
        raise NotEnoughSpace(
            f"The training needs about {_size(required)} for its states, but the disk of {home} has "
            f"{_size(available)} free; free some, or save less often.",
            path=str(home),
            required=required,
            available=available,
        )


def _dataset_bytes(dataset: Path) -> int:
    with suppress(OSError), os.scandir(dataset) as entries:
        return sum(entry.stat().st_size for entry in entries if entry.is_file())
    return 0


def _size(count: int) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.0f} MB"
