# SPDX-License-Identifier: Apache-2.0
"""Checks the state of --resume: whether it is complete, how far it is, and whether this run can continue from it."""

from __future__ import annotations

from library.errors import Gathered, Misfit
from library.findings import note, warn
from library.options.options import Options
from library.options.plan import Plan
from library.output import states
from library.output.progress import Progress
from library.output.states import Saved
from library.output.weightless import Trained


def read(options: Options, planned: Plan | None) -> tuple[Saved, Progress]:
    """The contents of the state, and how far it is. `planned`: None if other problems keep it unknown.

    Raises MissingFile, Damaged, and Misfit for another version's format.
    """
    assert options.resume is not None
    folder = states.find(options.resume)
    note(folder, *sorted(folder.iterdir()))
    steps_per_epoch = planned.steps_per_epoch if planned is not None else 1
    progress = states.read_progress(folder, steps_per_epoch=steps_per_epoch)
    return states.read(folder, average=options.ema_decay is not None), progress


def compare(
    options: Options, saved: Saved, progress: Progress, *, planned: Plan | None, trained: Trained | None
) -> None:
    """Raises Misfit with every reason why this run cannot continue from the state. `planned`, `trained`: None if
    other problems keep them unknown."""
    gathered = Gathered()
    if planned is not None:
        with gathered:
            _check_progress(options, planned, progress)
    if trained is not None:
        with gathered:
            states.fit(
                saved,
                network=trained.network,
                optimizer=trained.optimizer,
                scheduler=trained.scheduler,
                progress=progress,
            )
    gathered.throw()


def _check_progress(options: Options, planned: Plan, progress: Progress) -> None:
    if progress.processes not in (None, planned.processes) and not options.replan:
        raise Misfit(
            f"--resume: the state was made by {progress.processes} processes, but this run has {planned.processes}, "
            f"so its steps would have different batches; start {progress.processes}, or add --replan: the training "
            "then continues, but its result differs from that of an uninterrupted run"
        )
    if progress.step > planned.total_steps:
        raise Misfit(
            f"--resume: the state is at step {progress.step}, but this run ends at step {planned.total_steps}; "
            "ask for more epochs or steps"
        )
    if progress.total_steps not in (None, planned.total_steps):
        warn(
            f"the state is from a run of {progress.total_steps} steps, but this run has {planned.total_steps}; from "
            f"here on, the learning rate follows the schedule of a run of {planned.total_steps} steps"
        )
    if progress.steps_per_epoch != planned.steps_per_epoch:
        warn(
            f"an epoch had {progress.steps_per_epoch} steps when the state was saved and has "
            f"{planned.steps_per_epoch} now; the run continues after step {progress.step}"
        )
    if options.initial_epoch and (options.initial_epoch - 1) * planned.steps_per_epoch != progress.step:
        warn(f"--initial_epoch {options.initial_epoch} is ignored: the state is at step {progress.step}")
