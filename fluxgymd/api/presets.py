# SPDX-License-Identifier: Apache-2.0
"""The methods of org.fluxgym.Jobs about presets, and about settings that are made from others or read."""

from pathlib import Path

import msgspec

from fluxgym.errors import InvalidParameter, StorageFailed
from fluxgym.protocol import methods as m
from fluxgym.protocol.messages import Context, Preset
from fluxgymd.api.calls import Route, Send
from fluxgymd.background import lanes
from fluxgymd.pictures.files import reason
from fluxgymd.presets import preset
from fluxgymd.presets.shelf import Shelf
from fluxgymd.requests import convert
from fluxgymd.requests.compose import LANE, Composer
from fluxgymd.trainers.choice import Trainers

ANY_FOLDER = "/"
"""Completes a preset's settings for the check of their values, which does not look at the pictures."""


class Presets:
    def __init__(self, shelf: Shelf, composer: Composer, trainers: Trainers) -> None:
        self._shelf = shelf
        self._composer = composer
        self._trainers = trainers

    def routes(self) -> list[Route]:
        return [
            Route(m.PRESETS, self.presets),
            Route(m.SAVE_PRESET, self.save),
            Route(m.REMOVE_PRESET, self.remove),
            Route(m.COMPOSE, self.compose),
            Route(m.CONVERT, self.convert),
        ]

    async def presets(self, parameters: m.PresetsParameters, send: Send) -> m.PresetsReply:
        if parameters.name is not None:
            found = [await lanes.answer(LANE, self._shelf.one, parameters.name)]
        else:
            found = await lanes.answer(LANE, lambda: list(self._shelf.all()))
        for each in found:
            await send(m.PresetsReply(preset=each))
        return m.PresetsReply()

    async def save(self, parameters: m.SavePresetParameters, _: Send) -> m.OnePreset:
        given = parameters.settings
        preset.refuse(given)
        settings, _notes = await self._composer.compose(given, presets=parameters.presets or (), like=parameters.like)
        settings = preset.of_job(settings, given.name.lower())
        self._check(settings)
        saved = Preset(settings=settings, about=parameters.about, why={}, shipped=False)
        try:
            await lanes.answer(LANE, lambda: self._shelf.save(saved, replace=bool(parameters.replace)))
        except OSError as error:
            raise StorageFailed(f"The preset {settings.name} could not be saved: {reason(error)}.") from None
        return m.OnePreset(preset=saved)

    def _check(self, settings: Context) -> None:
        """InvalidSetting if no job could have these values."""
        complete = msgspec.structs.replace(settings, name="preset", dataset=ANY_FOLDER, sample_prompts=["a prompt"])
        self._trainers.training.complete(complete, self._shelf.home)

    async def remove(self, parameters: m.JobName, _: Send) -> m.Nothing:
        try:
            await lanes.answer(LANE, self._shelf.remove, parameters.name)
        except OSError as error:
            raise StorageFailed(f"The preset {parameters.name} could not be removed: {reason(error)}.") from None
        return m.Nothing()

    async def compose(self, parameters: m.ComposeParameters, _: Send) -> m.ComposeReply:
        if parameters.like is not None and parameters.base is not None:
            raise InvalidParameter("Only one of like and base can be given.", parameter="base")
        job, notes = await self._composer.compose(
            parameters.job,
            presets=parameters.presets or (),
            like=parameters.like,
            base=parameters.base,
            more_epochs=parameters.more_epochs,
        )
        return m.ComposeReply(job=job, notes=notes)

    async def convert(self, parameters: m.ConvertParameters, _: Send) -> m.ConvertReply:
        if not parameters.folder.startswith("/") or "\0" in parameters.folder:
            raise InvalidParameter("folder must be an absolute path.", parameter="folder")
        options = await self._trainers.training.options()
        folder = Path(parameters.folder)
        return await lanes.answer(f"the files below {folder}", convert.convert, parameters.text, folder, options)
