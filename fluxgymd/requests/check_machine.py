# SPDX-License-Identifier: Apache-2.0
"""Checks whether this machine and its daemon are ready to train. Changes nothing.

A check is a function in the list of `_checks`, which gathers facts and passes them to core/checks.py.
"""

from collections.abc import AsyncIterator, Awaitable, Callable

from fluxgym.config import Config
from fluxgym.errors import FluxgymError
from fluxgym.protocol.machine_messages import CheckResult
from fluxgymd.attempts.adapters import Supervisors
from fluxgymd.background import lanes
from fluxgymd.core import checks
from fluxgymd.core.disk import storage
from fluxgymd.gpus.machine import Gpus
from fluxgymd.host.linger import linger
from fluxgymd.run.degraded import Degraded
from fluxgymd.run.runner import Runner
from fluxgymd.store.room import room
from fluxgymd.trainers.choice import Trainers
from fluxgymd.trainers.port import Problem, ProblemKind

GPU_SECONDS = 2.0
"""An answer from NVML that is no older than this is fresh enough."""

MODEL_REMEDIES = {
    ProblemKind.MISSING_FILE: "Put the file at {}.",
    ProblemKind.MODEL: "Replace {} with an intact file.",
}

Check = Callable[[], Awaitable[list[CheckResult]]]


class MachineChecks:
    def __init__(
        self,
        config: Config,
        *,
        gpus: Gpus,
        supervisors: Supervisors,
        runner: Runner,
        trainers: Trainers,
        degraded: Degraded,
    ) -> None:
        self._config = config
        self._gpus = gpus
        self._choice = supervisors.choice
        self._runner = runner
        self._trainers = trainers
        self._degraded = degraded
        self._checks: dict[str, Check] = {
            "gpu": self._gpu,
            "supervisor": self._supervisor,
            "linger": self._linger,
            "disk": self._disk,
            "models": self._models,
            "trainer": self._trainer,
        }

    async def results(self) -> AsyncIterator[CheckResult]:
        """Yields each result as soon as it is known."""
        told = set()
        for name, check in self._checks.items():
            try:
                found = await check()
            except FluxgymError as error:  # such as a disk that does not answer
                found = [checks.problem(name, error.message)]
            for result in found:
                told.add(result.text)
                yield result
        for result in checks.health(self._degraded.reasons(), told=frozenset(told)):
            yield result

    async def _gpu(self) -> list[CheckResult]:
        readings = await self._gpus.ask(max_age=GPU_SECONDS)
        names = [reading.name for reading in readings]
        return [checks.gpu(names, self._gpus.consequence, uncertain=self._gpus.uncertain is not None)]

    async def _supervisor(self) -> list[CheckResult]:
        trouble = await self._runner.adapter.problem()
        return [checks.supervisor(self._choice.adapter, self._choice.reason, trouble)]

    async def _linger(self) -> list[CheckResult]:
        return [checks.linger(linger(), self._choice.adapter)]

    async def _disk(self) -> list[CheckResult]:
        home = self._config.home
        try:
            left = await lanes.answer(f"the disk of {home}", room, home)
        except OSError as error:
            return [checks.disk(str(home), free=0, trouble=storage.sentence(error, str(home)))]
        trouble = storage.room_problem(str(home), free=left.free, files=left.files, free_files=left.free_files)
        return [checks.disk(str(home), free=left.free, trouble=trouble)]

    async def _models(self) -> list[CheckResult]:
        home = self._config.home
        found = await lanes.answer(f"the models of {home}", self._trainers.default_models, home)
        if not found:
            return [checks.good("models", f"The model files that trainings use by default are in {home / 'models'}.")]
        return [checks.problem("models", one.sentence, remedy=_remedy(one)) for one in found]

    async def _trainer(self) -> list[CheckResult]:
        await self._trainers.look()
        options = await self._trainers.training.options()
        return [checks.trainer(str(self._config.trainer_path), len(options))]


def _remedy(problem: Problem) -> str | None:
    return MODEL_REMEDIES[problem.kind].format(problem.path) if problem.kind in MODEL_REMEDIES else None
