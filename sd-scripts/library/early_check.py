# SPDX-License-Identifier: Apache-2.0
"""--check_command_line: what can be refused before the job's turn comes, from its flags alone.

torch is imported only for an optimizer or a schedule whose class or arguments have to be tried: that takes seconds,
and all else a twentieth of one.
"""

from __future__ import annotations

from library.options import Options

TRIED = ("optimizer_args", "lr_scheduler_args", "lr_scheduler_type")
KNOWN_OPTIMIZER = "adamw"
# These need an argument or a package that others do not.
TRIED_SCHEDULES = ("cosine_with_min_lr", "piecewise_constant")
ANY_STEPS = 1
"""How many there are is known only with the pictures; a schedule that ends too early is told at the start."""


def check(options: Options) -> None:
    """Raises TrainerError for what the training would refuse at its start, whatever files are there by then."""
    if must_be_tried(options):
        from library.optimizer import may_need_gpu
        from library.rehearsal import rehearse

        # No GPU is visible here, since they may be full of other jobs.
        if not may_need_gpu(options.optimizer_type, on_gpu=False):
            rehearse(options, total_steps=ANY_STEPS)


def must_be_tried(options: Options) -> bool:
    """Whether only the packages of the optimizer and the schedule can say if they take their arguments."""
    return (
        options.optimizer_type.lower() != KNOWN_OPTIMIZER
        or options.lr_scheduler in TRIED_SCHEDULES
        or any(getattr(options, name) for name in TRIED)
    )
