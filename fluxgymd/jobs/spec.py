# SPDX-License-Identifier: Apache-2.0
"""What an attempt is started with: unit name, command line, environment. Pure: the environment is passed in."""

import math
from collections.abc import Mapping
from pathlib import Path

from fluxgym.config import Config
from fluxgymd.attempts.environment import job_environment
from fluxgymd.attempts.port import AttemptRef, AttemptSpec
from fluxgymd.core.job import Attempt, Job
from fluxgymd.store.home import JobFolder
from fluxgymd.trainers.port import Trainer


def unit_name(job: Job, number: int, adapter: str) -> str:
    """`fluxgym-NAME-ID.NNN.scope` (without .scope for a process): unique, so that no old unit is in the way."""
    name = f"fluxgym-{job.name}-{job.id[:8]}.{number:03d}"
    return f"{name}.scope" if adapter == "scope" else name


def attempt_spec(
    trainer: Trainer, job: Job, attempt: Attempt, folder: JobFolder, config: Config, environ: Mapping[str, str]
) -> AttemptSpec:
    argv = trainer.argv(job.context, folder, resume=attempt.resumed_from, gpus=len(attempt.gpus))
    own = {
        "FLUXGYM_JOB": job.name,
        "FLUXGYM_ATTEMPT_ID": attempt.mark,
        "FLUXGYM_METRICS": str(folder.metrics),
        "HF_HUB_OFFLINE": "1",  # the models are files; else each try to reach the hub takes 25 s (measured)
        "PYTHONFAULTHANDLER": "1",  # a trainer that crashes or is aborted writes its stacks to the log
        "PYTHONUNBUFFERED": "1",  # else the progress of sd-scripts is block-buffered
        "PYTHONUTF8": "1",  # its paths are UTF-8, whatever the locale
        "TOKENIZERS_PARALLELISM": "false",
        "CUDA_VISIBLE_DEVICES": ",".join(attempt.gpus),
        # How long accelerate's launcher lets its processes save after a SIGTERM (torch 2.13 and later).
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
        log_limit=config.log_limit,
    )


def attempt_ref(attempt: Attempt, folder: Path) -> AttemptRef:
    """What is needed to find the attempt again. `folder`: attempts/NNN."""
    return AttemptRef(
        unit=attempt.unit,
        folder=folder,
        mark=attempt.mark,
        place=attempt.place,
        shim=attempt.shim,
        placement=attempt.placement,
        trainer=attempt.trainer,
    )
