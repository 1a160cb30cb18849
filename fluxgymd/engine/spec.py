# SPDX-License-Identifier: Apache-2.0
"""What an attempt is started with: names, command line, environment. Pure: the environment is passed in."""

import math
from collections.abc import Mapping
from pathlib import Path

from fluxgym.config import Config
from fluxgym.messages import Kind
from fluxgymd.attempts.environment import job_environment
from fluxgymd.attempts.port import AttemptRef, AttemptSpec
from fluxgymd.core.job import Attempt, Job
from fluxgymd.store.home import JobFolder
from fluxgymd.trainers import kohya


def unit_name(job: Job, number: int, adapter: str) -> str:
    """`fluxgym-NAME-ID.NNN.scope`: unique for each attempt, so that an old unit is never in the way."""
    name = f"fluxgym-{job.name}-{job.id[:8]}.{number:03d}"
    return f"{name}.scope" if adapter == "scope" else name


def attempt_spec(
    job: Job, attempt: Attempt, folder: JobFolder, config: Config, environ: Mapping[str, str]
) -> AttemptSpec:
    argv: tuple[str, ...]
    if job.context.kind is Kind.PROGRAM:
        argv = tuple(job.context.program or ())
    else:
        script = config.trainer_path / kohya.SCRIPT
        start = kohya.starter(config.trainer_python, gpus=len(attempt.gpus))
        trainer = kohya.trainer_at(config.trainer_path)
        given = kohya.arguments(job.context, folder, attempt.resumed_from, trainer=trainer)
        argv = (*start, str(script), *given)
    own = {
        "FLUXGYM_JOB": job.name,
        "FLUXGYM_ATTEMPT_ID": attempt.mark,
        "FLUXGYM_METRICS": str(folder.metrics),
        "HF_HUB_OFFLINE": "1",  # the models are files: no hub is asked, and none is waited for (25 s a try, measured)
        "PYTHONFAULTHANDLER": "1",  # its stacks are in the log if it crashes, or hangs and is aborted
        "PYTHONUNBUFFERED": "1",  # upstream's progress is block-buffered otherwise (trainers.md 1.8)
        "TOKENIZERS_PARALLELISM": "false",
        "CUDA_VISIBLE_DEVICES": ",".join(attempt.gpus),
        # How long accelerate's launcher lets its processes save after a SIGTERM, where torch has this (2.13).
        "TORCH_ELASTIC_SHUTDOWN_TIMEOUT": str(math.ceil(config.stop_limit)),
    }
    return AttemptSpec(
        job=job.name,
        unit=attempt.unit,
        folder=folder.attempt(attempt.number),
        log=folder.log,
        argv=argv,
        environment=job_environment(environ) | own,
        cwd=folder.path,
        stop_limit=config.stop_limit,
    )


def attempt_ref(attempt: Attempt, folder: Path) -> AttemptRef:
    """What finds the attempt again. `folder`: attempts/NNN."""
    return AttemptRef(
        unit=attempt.unit,
        folder=folder,
        mark=attempt.mark,
        place=attempt.place,
        shim=attempt.shim,
        placement=attempt.placement,
    )
