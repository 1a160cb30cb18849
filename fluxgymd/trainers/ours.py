# SPDX-License-Identifier: Apache-2.0
"""FluxGym's own trainer, and any other one that has --check_job: the trainer itself says what is wrong with a job."""

import os
import signal
from dataclasses import replace
from pathlib import Path

from fluxgym.config import Config
from fluxgym.protocol.messages import Context
from fluxgymd.background import lanes
from fluxgymd.store.home import JobFolder
from fluxgymd.trainers import answer, flag_kinds, kohya, presence
from fluxgymd.trainers.asking import CHECK
from fluxgymd.trainers.port import CheckReport, Problem, ProblemKind, Question
from fluxgymd.trainers.states import StateWriter
from fluxgymd.trainers.training import Training

GPU_BYTES = "FLUXGYM_GPU_BYTES"


class OurTrainer(Training):
    writer = StateWriter.OURS
    only_reads_pictures = True
    signals = frozenset({signal.SIGTERM, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2})

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self._steps_per_epoch: dict[Path, int] = {}
        """What the trainer last said, by the job's folder."""

    def steps_per_epoch(self, context: Context, folder: JobFolder) -> int | None:
        """As the trainer said when it was last asked; until then as for sd-scripts."""
        told = self._steps_per_epoch.get(folder.path)
        return super().steps_per_epoch(context, folder) if told is None else told

    def tells_phase(self) -> bool:
        return (self.path / "library" / "metrics.py").is_file()

    async def check(self, question: Question) -> CheckReport:
        context, folder = question.context, question.folder
        options = context.trainer_options or {}
        refused = kohya.refused_options(options)
        missing = await lanes.answer(f"the models and the pictures of {context.name}", presence.problems, question)
        seen = [*missing, *refused]
        if refused:  # they cannot be put on a command line
            return CheckReport(problems=tuple(seen))
        told = await self.inquiry.ask(
            self._words(question),
            files=self.files(context, folder, pictures=question.pictures),
            folder=folder.path,
            name=context.name,
            processes=context.gpu_count or 1,
            forecast=_circumstances(question),
        )
        if told is None:
            flags = await self.inquiry.flags()
            kinds = flag_kinds.problems(options, flags) if CHECK not in flags else []
            return CheckReport(problems=(*seen, *kinds), disk_bytes=await self.estimate(question, seen))
        if told.plan is not None and told.plan.steps_per_epoch is not None:
            self._steps_per_epoch[folder.path] = told.plan.steps_per_epoch
        report = answer.report(told, context, folder)
        ignored = flag_kinds.without_effect(options, await self.inquiry.flags())
        return replace(report, problems=_merged(seen, report.problems), warnings=(*report.warnings, *ignored))

    def _words(self, question: Question) -> list[str]:
        """The command line, without a LoRA to begin with that does not exist yet: another job may still make it."""
        context = question.context
        weights = presence.first_weights(question)
        if weights is not None and not os.path.isfile(weights):
            context = kohya.without_options(context, "network_weights", "dim_from_weights")
        return kohya.arguments(context, question.folder, question.resume, trainer=self.writer)


def _circumstances(question: Question) -> dict[str, str] | None:
    """The variables for a forecast (docs/trainer.md); None if none is wanted."""
    if question.wanted is None:
        return None
    memory = question.wanted.gpu_bytes
    return {GPU_BYTES: str(memory)} if memory is not None else {}


def _merged(seen: list[Problem], told: tuple[Problem, ...]) -> tuple[Problem, ...]:
    """Each problem once, the dataset's first. If both report the same path, the daemon's sentence (`seen`) is kept,
    except for a model file that exists: there the trainer's sentence says what the file is instead."""
    models = {problem.path for problem in told if problem.kind is ProblemKind.MODEL}
    seen = [problem for problem in seen if problem.kind is not ProblemKind.MODEL or problem.path not in models]
    paths = {problem.path for problem in seen}
    blind = any(problem.kind is ProblemKind.DATASET for problem in seen)
    more = [
        problem
        for problem in told
        if not (problem.path is not None and problem.path in paths)
        and not (blind and problem.kind is ProblemKind.DATASET)
    ]
    return tuple(sorted([*seen, *more], key=lambda problem: problem.kind is not ProblemKind.DATASET))
