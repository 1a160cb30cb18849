# SPDX-License-Identifier: Apache-2.0
"""The choice of a job's adapter, by its kind and by what is in the trainer's folder. Only this module decides it."""

import asyncio
import logging
from pathlib import Path

from fluxgym.config import Config
from fluxgym.protocol.messages import Context, Kind, Model
from fluxgymd.background import lanes
from fluxgymd.trainers import presence, program, settings, training
from fluxgymd.trainers.asking import LANE
from fluxgymd.trainers.ours import OurTrainer
from fluxgymd.trainers.port import Problem, Trainer, Traits
from fluxgymd.trainers.program import Program
from fluxgymd.trainers.sd_scripts import SdScripts

log = logging.getLogger(__name__)

LOOK_SECONDS = 5.0


def traits(context: Context) -> Traits:
    """The traits of the job's kind, which are known without the disk."""
    return program.TRAITS if context.kind is Kind.PROGRAM else training.TRAITS


class Trainers:
    """The adapters of one daemon."""

    def __init__(self, config: Config) -> None:
        self._program = Program()
        self._ours = OurTrainer(config)
        self._sd_scripts = SdScripts(config)
        self.training: Trainer = self._ours
        """The adapter of trainings, as of the last look."""
        self._path = config.trainer_path

    def of(self, context: Context) -> Trainer:
        """The job's adapter, as of the last look."""
        return self._program if context.kind is Kind.PROGRAM else self.training

    def default_models(self, home: Path) -> list[Problem]:
        """Problems with the model files that a training uses by default. Blocks on the disk."""
        return list(presence.of_models(settings.complete_model(Model(), home)))

    async def look(self) -> None:
        """Finds out which trainer is in the configured folder: somebody may have put another one there."""
        try:
            async with asyncio.timeout(LOOK_SECONDS):
                await lanes.run(LANE, self.look_now)
        except TimeoutError:
            log.warning("the folder of the trainer, %s, does not answer", self._path)

    def look_now(self) -> None:
        """The same as `look`, but without a lane and a deadline. Blocks on the disk."""
        self.training = self._sd_scripts if SdScripts.lies_in(self._path) else self._ours
