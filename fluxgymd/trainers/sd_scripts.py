# SPDX-License-Identifier: Apache-2.0
"""The adapter for kohya-ss/sd-scripts, which cannot be asked about a job: the daemon checks its files and flags."""

from collections.abc import Sequence
from pathlib import Path

from fluxgymd.background import lanes
from fluxgymd.store.caches import torn as caches
from fluxgymd.store.home import JobFolder
from fluxgymd.trainers import flag_kinds, kohya, presence
from fluxgymd.trainers.port import CheckReport, Question
from fluxgymd.trainers.states import StateWriter
from fluxgymd.trainers.training import Training

MARK = "train_network.py"
"""The module whose class sd-scripts' flux_train_network.py extends. Our trainer has no such file."""


class SdScripts(Training):
    writer = StateWriter.SD_SCRIPTS
    only_reads_pictures = False

    @staticmethod
    def lies_in(path: Path) -> bool:
        return (path / MARK).is_file()

    def tells_phase(self) -> bool:
        """sd-scripts shows its phase in its output."""
        return self.lies_in(self.path)

    def mend(self, folder: JobFolder) -> Sequence[str]:
        """Also gives the job caches of its own: sd-scripts writes into them."""
        told = super().mend(folder)
        for place in folder.picture_folders():
            caches.unshare(place)
        return told

    async def check(self, question: Question) -> CheckReport:
        context = question.context
        options = context.trainer_options or {}
        found = await lanes.answer(f"the models and the pictures of {context.name}", presence.problems, question)
        found += [*kohya.refused_options(options), *kohya.uncacheable(options)]
        if options:  # the rest of the command line is the daemon's own
            found += flag_kinds.problems(options, await self.inquiry.flags())
        return CheckReport(problems=tuple(found), disk_bytes=await self.estimate(question, found))
