# SPDX-License-Identifier: Apache-2.0
"""An observer of our own beside a running daemon: it sees the same attempt through the same files and /proc."""

from __future__ import annotations

from fluxgymd.attempts.process import ProcessAdapter
from fluxgymd.core.job import Job, Live
from fluxgymd.gpus.machine import Gpus
from fluxgymd.store import journal
from fluxgymd.store.home import JobFolder
from fluxgymd.watchdog.observer import Observer
from tests.daemon.running import ROOT, Asked


def job_of(daemon: Asked, name: str) -> Job:
    job = journal.read(JobFolder(daemon.folder(name)).journal).job
    assert job is not None
    return job


def observer_of(daemon: Asked, name: str, gpus: Gpus, **options: float) -> Observer:
    """Of a job that a daemon runs as processes; it has to be live."""
    job = job_of(daemon, name)
    assert isinstance(job.state, Live)
    return Observer(
        folder=JobFolder(daemon.folder(name)),
        attempt=job.state.attempt,
        kind=job.context.kind,
        trainer=ROOT / "sd-scripts",
        adapter=ProcessAdapter(stop_limit=1),
        gpus=gpus,
        **options,
    )


def trainer_of(daemon: Asked, name: str) -> int:
    """The pid of its trainer; it has to run."""
    state = job_of(daemon, name).state
    assert isinstance(state, Live)
    assert state.attempt.trainer is not None
    return state.attempt.trainer.pid
