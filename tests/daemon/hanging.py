# SPDX-License-Identifier: Apache-2.0
"""The ways in which a training can hang, and jobs that hang in them.

Only the phase that hangs has short limits; the other phases have the usual ones, so that a slow machine makes no
healthy phase look stuck.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from fluxgym.protocol.messages import Context
from tests.daemon.running import Asked, context

SHORT = 12.0
"""Limit in seconds for a phase that hangs. No healthy phase of the tiny model is still that long."""


@dataclass(frozen=True, kw_only=True)
class Hang:
    """One way to hang, and what the daemon should find."""

    where: str
    """The value of --debug_hang."""
    rule: str
    phase: str
    limits: dict[str, float]
    utilization: int
    """The constant load of its GPU, in percent."""
    function: str
    """The caller of the function that hangs, as the stack shows it."""

    @property
    def kind(self) -> str:
        return self.where.partition("@")[0]

    @property
    def uuid(self) -> str:
        return f"GPU-{self.kind}-{self.phase}"


HANGS = (
    Hang(
        where="deadlock@batches:20",
        rule="gpu_idle",
        phase="training",
        limits={"gpu_idle_seconds": SHORT},
        utilization=1,
        function="in batch",
    ),
    Hang(
        where="spin@training:20",
        rule="step",
        phase="training",
        limits={"step_floor_seconds": SHORT, "step_factor": 2},
        utilization=100,
        function="in micro_step",
    ),
    Hang(
        where="stop@training:20",
        rule="stopped",
        phase="training",
        limits={"stopped_seconds": SHORT},
        utilization=0,
        function="in micro_step",
    ),
    Hang(
        where="write@saving:2",
        rule="still",
        phase="saving",
        limits={"saving_still_seconds": SHORT},
        utilization=0,
        function="in fill",
    ),
    Hang(
        where="sleep@caching:4",
        rule="still",
        phase="caching",
        limits={"caching_still_seconds": SHORT},
        utilization=0,
        function="in _count",
    ),
    Hang(
        where="sleep@sampling",
        rule="progress",
        phase="sampling",
        limits={"sampling_progress_seconds": 2 * SHORT},  # measured when healthy: 2.3 s; in the other phases: 0.8 s
        utilization=60,
        function="in _denoise",
    ),
)


def hanging(name: str, model: Path, where: str, limits: dict[str, float], **changes: Any) -> Context:
    """A training that hangs, watched at intervals of one second."""
    job = context(name, model, watchdog_limits={"interval_seconds": 1, **limits}, **changes)
    return with_options(job, debug_hang=[where])


def once(job: Context, file: Path) -> Context:
    """The same job, but it hangs only the first time."""
    return with_options(job, debug_hang_once=[str(file)])


def with_options(job: Context, **options: list[str]) -> Context:
    return msgspec.structs.replace(job, trainer_options={**(job.trainer_options or {}), **options})


def name_of(hang: Hang) -> str:
    return f"{hang.kind}-{hang.phase}"


def submit_all(daemon: Asked, model: Path, folder: Path) -> None:
    for hang in HANGS:
        sampling = {"sample_prompts": ["a cat --w 64 --h 64 --s 2"], "sample_every_epochs": 2}
        changes = sampling if hang.phase == "sampling" else {}
        job = hanging(name_of(hang), model, hang.where, hang.limits, gpus=[hang.uuid], **changes)
        if hang.phase == "caching":  # else it could take the caches of a job that was faster, and would not hang
            job = with_options(job, cache_latents_to_disk=["false"])
        daemon.submit(once(job, folder / f"{name_of(hang)}.hung"))
