# SPDX-License-Identifier: Apache-2.0
"""Makes an observer beside a running daemon. It sees the same attempt through the same files and /proc."""

from __future__ import annotations

from pathlib import Path

from fluxgymd.attempts.process import ProcessAdapter
from fluxgymd.core.job import Job, Live
from fluxgymd.gpus.machine import Gpus
from fluxgymd.store import journal
from fluxgymd.store.home import JobFolder
from fluxgymd.watchdog.observer import Observer
from tests.core.watchdog.usual import USUAL
from tests.daemon.running import ROOT, Asked
from tests.trainers.adapters import trainers


def job_of(daemon: Asked, name: str) -> Job:
    job = journal.read(JobFolder(daemon.folder(name)).journal).job
    assert job is not None
    return job


def observer_of(
    daemon: Asked, name: str, gpus: Gpus, *, trainer_path: Path = ROOT / "sd-scripts", **options: float
) -> Observer:
    """Returns an observer of a live job whose daemon uses the process supervisor. `trainer_path`: the daemon's
    trainer."""
    job = job_of(daemon, name)
    assert isinstance(job.state, Live)
    return Observer(
        folder=JobFolder(daemon.folder(name)),
        attempt=job.state.attempt,
        trainer=trainers(trainer_path).of(job.context),
        adapter=ProcessAdapter(stop_limit=1),
        gpus=gpus,
        **{"interval": USUAL.interval, **options},
    )


def trainer_of(daemon: Asked, name: str) -> int:
    """Returns the pid of the job's trainer, which must be running."""
    state = job_of(daemon, name).state
    assert isinstance(state, Live)
    assert state.attempt.trainer is not None
    return state.attempt.trainer.pid
