# SPDX-License-Identifier: Apache-2.0
"""All checks of a job, for the start of a training and for --check_job.

Each check runs whatever the others find, unless it needs a result that they could not provide. Importing torch takes
seconds, so only the checks that need it do so: those of optimizers and schedules that must be tried (`trial`), of
--network_args, of --network_weights and of --resume.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from library import families
from library.check import data_check, tokenizer_check
from library.check.data_check import Data
from library.compute.swap_order import Stacks
from library.data import prompts
from library.data.prompts import Prompt
from library.errors import TrainerError
from library.family.port import BaseModel, Tokenizers
from library.findings import Findings, warn
from library.memory import choices
from library.memory.fit import Subject
from library.optim import trial
from library.options import plan
from library.options.options import Options
from library.options.plan import Plan
from library.output import output_check
from library.output.progress import Progress

if TYPE_CHECKING:
    from library.output.weightless import Trained


@dataclass(frozen=True, kw_only=True)
class Resumed:
    """A state's folder, and how far the state is."""

    folder: Path
    progress: Progress


@dataclass(frozen=True, kw_only=True)
class Survey:
    """What the checks found out; None for what a problem kept unknown. `tokenizers`: None also if none are needed;
    `state`: the state, if it could be read;
    `resumed`: the same, if the run can continue from it; `first_step`: the number of steps done; `settled`: how the
    run is computed, as far as the command line or the state says, by the names of `Choices`."""

    models: BaseModel | None
    data: Data | None
    plan: Plan | None
    prompts: list[Prompt]
    tokenizers: Tokenizers | None
    state: Resumed | None
    resumed: Resumed | None
    first_step: int
    settled: dict[str, Any]


def run(options: Options, findings: Findings, *, processes: int, on_gpu: bool, wrong: Collection[str] = ()) -> Survey:
    """Runs all checks and puts their problems and warnings into `findings`. `processes`: how many train together;
    `on_gpu`: whether they compute on GPUs; `wrong`: flags whose values are invalid, so that checks that depend on
    them are skipped."""
    checks = _Checks(options, findings, processes=processes, on_gpu=on_gpu, wrong=frozenset(wrong))
    checks.output()
    checks.models()
    checks.data()
    checks.prompts()
    checks.texts()
    checks.optimizer()
    checks.network()
    checks.state()
    checks.settle()
    return checks.survey()


def takes_long(options: Options, *, wrong: Collection[str] = ()) -> bool:
    """Whether a check may need torch, whose import takes seconds."""
    optimizer = not set(wrong) & trial.FLAGS and trial.is_needed(options)
    return bool(optimizer or options.network_args or options.network_weights or options.resume)


def subject(found: Survey, *, processes: int) -> Subject:
    """What is trained, for the estimates of memory. All of the survey's parts must be known."""
    assert found.models is not None
    assert found.data is not None
    return Subject(
        dataset=found.data.dataset,
        pictures=found.data.encoded,
        prompts=found.prompts,
        models=found.models,
        processes=processes,
    )


class _Checks:
    """The checks, to be called in an order in which each finds the results that it needs."""

    def __init__(
        self, options: Options, findings: Findings, *, processes: int, on_gpu: bool, wrong: frozenset[str]
    ) -> None:
        self._options, self._findings = options, findings
        self._processes, self._on_gpu, self._wrong = processes, on_gpu, wrong
        self._family = families.of(options)
        self._models: BaseModel | None = None
        self._data: Data | None = None
        self._plan: Plan | None = None
        self._prompts: list[Prompt] = []
        self._tokenizers: Tokenizers | None = None
        self._trained: Trained | None = None
        self._state: Resumed | None = None
        self._resumed: Resumed | None = None
        self._first_step = 0
        self._settled: dict[str, Any] = {}

    def survey(self) -> Survey:
        return Survey(
            models=self._models,
            data=self._data,
            plan=self._plan,
            prompts=self._prompts,
            tokenizers=self._tokenizers,
            state=self._state,
            resumed=self._resumed,
            first_step=self._first_step,
            settled=self._settled,
        )

    def output(self) -> None:
        if not self._wrong & {"output_dir", "output_name"}:
            with self._findings.gather("output", "output_dir"):
                output_check.check(self._options)

    def models(self) -> None:
        if self._wrong & {*self._family.flags, "network_args", "network_weights"}:
            return
        with self._findings.gather("model"):
            self._models = self._family.read(self._options)
            for sentence in self._models.advice(self._options):
                warn(sentence)

    def data(self) -> None:
        if self._options.dataset_config is None and self._options.train_data_dir is None:
            return  # reported as a problem of the command line
        with self._findings.gather("dataset", "dataset_config"):
            data = self._data = data_check.check(self._options, self._family.cache_names)
            batches = data.dataset.batches_per_epoch
            self._plan = plan.make(self._options, batches_per_epoch=batches, processes=self._processes)

    def prompts(self) -> None:
        if self._options.sample_prompts is not None:
            with self._findings.gather("prompts", "sample_prompts"):
                self._prompts = prompts.read(self._options.sample_prompts)

    def texts(self) -> None:
        """Checks the tokenizers, and warns about captions that they truncate."""
        if self._models is None or self._data is None:
            return  # whether tokenizers are needed, and how much of a text is read, are unknown
        with self._findings.gather("model", "tokenizer_cache_dir"):
            self._tokenizers = tokenizer_check.check(
                self._options, self._data, self._models, samples=bool(self._prompts)
            )

    def optimizer(self) -> None:
        if not self._wrong & trial.FLAGS and trial.is_needed(self._options):
            with self._findings.gather("optimizer", "optimizer_type"):
                from library.optim import rehearsal

                steps = self._plan.total_steps if self._plan is not None else 1
                rehearsal.rehearse(self._options, total_steps=steps, on_gpu=self._on_gpu)

    def network(self) -> None:
        """Checks the LoRA and what trains it, with --network_args, --network_weights or --resume: nothing else can
        make this check fail."""
        options = self._options
        wanted = options.network_args or options.network_weights or options.resume
        if not wanted or self._models is None or self._wrong & {"network_args", "network_weights"}:
            return
        from library.output import weightless

        made = None
        with self._findings.gather("model", "network_weights"):
            made = weightless.build_network(options, self._models)
        blocked = any(problem.kind in ("command_line", "optimizer") for problem in self._findings.problems)
        if made is None or blocked or self._plan is None or (self._on_gpu and weightless.needs_gpu(options)):
            return
        with self._findings.gather("optimizer", "optimizer_type"):
            self._trained = weightless.build(options, made, total_steps=self._plan.total_steps, on_gpu=self._on_gpu)

    def state(self) -> None:
        if self._options.resume is not None:
            from library.output import state_check

            with self._findings.gather("state", "resume"):
                saved, progress = state_check.read(self._options, self._plan)
                state = self._state = Resumed(folder=saved.folder, progress=progress)
                state_check.compare(self._options, saved, progress, planned=self._plan, trained=self._trained)
                self._resumed = state
        if self._plan is not None:
            with self._findings.gather("command_line"):
                self._first_step = _first_step(self._options, self._plan, self._resumed)

    def settle(self) -> None:
        if self._models is not None:
            progress = self._state.progress if self._state else None
            with self._findings.gather("command_line"):
                self._settled = _settle(self._options, self._models.transformer_size.stacks, progress)


def _first_step(options: Options, planned: Plan, resumed: Resumed | None) -> int:
    """The number of steps done. A state's counter overrides --initial_epoch."""
    if resumed is not None:
        return resumed.progress.step
    if not options.initial_epoch:
        return 0
    if options.initial_epoch > planned.total_epochs:
        raise TrainerError(
            f"--initial_epoch {options.initial_epoch} is past the last epoch, {planned.total_epochs}",
            kind="command_line",
        )
    return (options.initial_epoch - 1) * planned.steps_per_epoch


def _settle(options: Options, stacks: Stacks, progress: Progress | None) -> dict[str, Any]:
    """How the run is computed, as far as the command line or a state says, by the names of `Choices`."""
    blocks = stacks.blocks
    wanted = choices.asked(options, blocks=blocks)
    number = stacks.asked(options.blocks_to_swap, split_mode=options.split_mode)
    if number is not None:
        wanted["blocks_to_swap"] = number
    values = choices.settle(wanted, progress.choices if progress else None, replan=options.replan, blocks=blocks)
    if values.get("compile") != wanted.get("compile", values.get("compile")):
        warn("--compile is ignored: the state was made with blocks that are not compiled; --replan compiles them")
    if sentence := stacks.misfit(values.get("blocks_to_swap", 0)):
        raise TrainerError(sentence)
    return values
