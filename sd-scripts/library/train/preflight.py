# SPDX-License-Identifier: Apache-2.0
"""Refuses everything that can be refused from headers and small files, before anything large is loaded.

The checks are those of --check_job (`survey`), and in addition those that depend on the machine at this moment: free
memory, free disk space, and the kernels of its GPU.
"""

from __future__ import annotations

import dataclasses
import random
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from library.check import survey
from library.check.data_check import Data
from library.check.survey import Survey
from library.compute import attention, compile_choice
from library.data.dataset import Dataset
from library.data.prompts import Prompt
from library.environment import wants_cpu
from library.errors import TrainerError
from library.family.port import BaseModel
from library.findings import Findings, warn
from library.memory.choices import Choices
from library.memory.fit import Subject, fit
from library.options.options import Options
from library.options.plan import Plan
from library.output import output
from library.output.progress import Progress


@dataclass(frozen=True, kw_only=True)
class Inputs:
    """The inputs of a run, which fit together. `state`: the folder to resume from, if any; `progress`: how far that
    state is; `first_step`: the number of steps done."""

    dataset: Dataset
    validated: Dataset | None
    plan: Plan
    prompts: list[Prompt]
    models: BaseModel
    state: Path | None
    progress: Progress | None
    first_step: int
    seed: int
    choices: Choices

    @property
    def pictures(self) -> Dataset:
        """All pictures to encode: those that are trained and those that are validated."""
        encoded = Data(dataset=self.dataset, validated=self.validated).encoded
        return dataclasses.replace(self.dataset, pictures=encoded)


def check(options: Options, *, processes: int = 1) -> Inputs:
    """Checks everything, creates --output_dir and chooses how to compute. Raises TrainerError with every problem.
    `processes`: how many train together."""
    findings = Findings()
    found = survey.run(options, findings, processes=processes, on_gpu=_on_gpu())
    findings.throw()
    # These are None only if there was a problem.
    assert found.models is not None
    assert found.data is not None
    assert found.plan is not None
    output.prepare(options)
    print(f"base model: {found.models.name}", flush=True)
    progress = found.resumed.progress if found.resumed else None
    subject = survey.subject(found, processes=processes)
    return Inputs(
        dataset=found.data.dataset,
        validated=found.data.validated,
        plan=found.plan,
        prompts=found.prompts,
        models=found.models,
        state=found.resumed.folder if found.resumed else None,
        progress=progress,
        first_step=found.first_step,
        seed=_seed(options, progress),
        choices=_choose(options, subject, found, steps=found.plan.total_steps),
    )


def _choose(options: Options, subject: Subject, found: Survey, *, steps: int) -> Choices:
    """How the run is computed: as the command line or a state says, and otherwise as it fits this machine."""
    progress = found.resumed.progress if found.resumed else None
    values = _choose_kernels(found.settled, steps=steps, sizes=len(subject.dataset.batch_shapes))
    resumed = progress is not None and progress.choices is not None and not options.replan
    tier = fit(options, subject, settled=values, resumed=resumed)
    return Choices(**{**values, **dataclasses.asdict(tier)})


def _choose_kernels(values: dict[str, Any], *, steps: int, sizes: int) -> dict[str, Any]:
    """Adds the attention kernel, and whether blocks are compiled, if neither the command line nor a state says so.

    Raises TrainerError if the kernel cannot be used on this machine.
    """
    on_gpu = _on_gpu()
    circumstances: attention.Circumstances = {
        "capability": torch.cuda.get_device_capability() if on_gpu else None,
        "sixteen_bits": values["mixed_precision"] == "bf16",
        "deterministic": values.get("deterministic", False),
    }
    values = {
        "attention": attention.choose(**circumstances),
        "compile": compile_choice.choose(gpu=on_gpu, steps=steps, sizes=sizes),
        **values,
    }
    if why := attention.obstacle(values["attention"], **circumstances):
        kernel = values["attention"]
        raise TrainerError(f"--attention {kernel} {why}; use auto, and add --replan if a state requires this kernel")
    return values


def _on_gpu() -> bool:
    return torch.cuda.is_available() and not wants_cpu()


def _seed(options: Options, progress: Progress | None) -> int:
    """--seed, or else the state's seed, or else a new one."""
    if progress is not None and progress.seed is not None:
        if options.seed not in (None, progress.seed):
            warn(f"--seed {options.seed} differs from the state's, {progress.seed}, so the result will differ too")
        return progress.seed if options.seed is None else options.seed
    return random.SystemRandom().randrange(2**32) if options.seed is None else options.seed
