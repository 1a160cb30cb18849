# SPDX-License-Identifier: Apache-2.0
"""Exports a job as a folder for another program. The folder appears complete, or not at all."""

import os
import secrets
import shutil
from functools import partial
from pathlib import Path

from fluxgym.errors import FileMissing, InvalidParameter, InvalidSetting, PathTaken, StorageFailed
from fluxgym.files import is_folder
from fluxgym.protocol.messages import Kind
from fluxgym.quoting import short
from fluxgymd.background import lanes
from fluxgymd.exchange import sd_scripts_folder
from fluxgymd.exchange.sd_scripts_folder import DATASET, SCRIPT, Export
from fluxgymd.jobs.registry import Registry
from fluxgymd.pictures.files import reason
from fluxgymd.requests.copying import Copier
from fluxgymd.requests.naming import named_note
from fluxgymd.snapshots import subsets
from fluxgymd.store.atomic import sync_folder, write_file
from fluxgymd.trainers.choice import Trainers


class Exporter:
    def __init__(self, registry: Registry, trainers: Trainers, copier: Copier) -> None:
        self._registry = registry
        self._trainers = trainers
        self._copier = copier

    async def export(self, name: str, target: str) -> list[str]:
        """Writes the folder, and returns notes for the user. FluxgymError."""
        entry, job = self._registry.sound(name)
        context = job.context
        if context.kind is Kind.PROGRAM:
            raise InvalidSetting(f"{name} is a program; only trainings can be exported.", setting="kind")
        place = _absolute(target)
        lane = f"the folder {place.parent}"
        await lanes.answer(lane, self._refuse, place)
        copy = entry.folder.dataset
        if entry.older is not None and not await lanes.answer(name, is_folder, copy):
            copy = Path(str(context.dataset))
        built = place.with_name(f".{place.name}.{secrets.token_hex(4)}")
        made = sd_scripts_folder.export(context, entry.folder)
        try:
            await lanes.answer(lane, built.mkdir, 0o700)
            how, notes = self._trainers.of(context).captions(context), list(made.notes)
            for subset in subsets.of(context):
                there = built / DATASET / subset.place
                await lanes.answer(lane, partial(there.parent.mkdir, 0o700, exist_ok=True))
                snapshot = await self._copier.copy(copy / subset.place, there, subset.captions(how))
                notes += [named_note(note, subset) for note in snapshot.notes]
            await lanes.answer(lane, _publish, built, place, made)
        except OSError as error:
            raise StorageFailed(f"The folder {place} could not be written: {reason(error)}.") from None
        finally:
            await lanes.run(lane, shutil.rmtree, built, ignore_errors=True)
        return notes

    def _refuse(self, place: Path) -> None:
        """FileMissing if there is no folder above; PathTaken if there is something in it or it is FluxGym's own."""
        if place == self._registry.home.outputs or place.is_relative_to(self._registry.home.outputs):
            raise PathTaken(f"{short(str(place))} belongs to FluxGym's jobs; choose another folder.", path=str(place))
        if not is_folder(place.parent):
            raise FileMissing(f"The folder {short(str(place.parent))} does not exist.", path=str(place.parent))
        if not os.path.lexists(place):
            return
        if place.is_symlink() or not place.is_dir():
            raise PathTaken(f"{short(str(place))} exists and is not a folder; choose another name.", path=str(place))
        if os.listdir(place):
            raise PathTaken(f"The folder {short(str(place))} is not empty; choose another one.", path=str(place))


def _absolute(target: str) -> Path:
    """The path without `..`, which could hide where it leads. InvalidParameter."""
    if not target.startswith("/") or "\0" in target:
        raise InvalidParameter("folder must be an absolute path.", parameter="folder")
    return Path(os.path.normpath(target))


def _publish(built: Path, place: Path, made: Export) -> None:
    for name, data in made.files.items():
        write_file(built / name, data)
    (built / SCRIPT).chmod(0o700)
    sync_folder(built / DATASET)
    sync_folder(built)
    built.rename(place)  # fails if somebody has put something there since
    sync_folder(place.parent)
