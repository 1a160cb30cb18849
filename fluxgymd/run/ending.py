# SPDX-License-Identifier: Apache-2.0
"""Gathers the facts about an attempt of which nothing is left, and lets core/ending.py make the event that ends it.

The attempt is proved to be over (`Over`) before anything is read here, and its exit is what the shim recorded, or
unknown. What the job itself wrote only adds to that: a file that makes no sense counts as unknown, and the end is
recorded without it. Progress that is only shown to people is not among the facts; `Steps` is (core/outcome.py).
"""

import logging
import time
from collections.abc import Callable
from typing import TypeVar

from fluxgymd.core import ending
from fluxgymd.core.ending import Circumstances, FileFacts
from fluxgymd.core.evidence import Exited, NeverStarted, Over
from fluxgymd.core.job import Attempt, Job
from fluxgymd.core.journal import events
from fluxgymd.core.journal.records import ExitRecord
from fluxgymd.core.outcome import Steps
from fluxgymd.core.resume import newest
from fluxgymd.store.home import JobFolder
from fluxgymd.trainers.port import Trainer
from fluxgymd.trainers.progress import metrics
from fluxgymd.watchdog.evidence_files import EVIDENCE

log = logging.getLogger(__name__)

T = TypeVar("T")
U = TypeVar("U")


def end_event(
    trainer: Trainer,
    job: Job,
    attempt: Attempt,
    folder: JobFolder,
    over: Over,
    around: Circumstances,
) -> events.Ended:
    """The event that ends the attempt. Blocks on the disk."""
    now = time.time()  # read once: a pause counts from the end that is recorded
    if isinstance(over, NeverStarted):
        return ending.not_started(attempt, around, log_size=metrics.size(folder.log), now=now)
    return ending.ended(
        job,
        attempt,
        over,
        _find(trainer, job, attempt, folder, record=over.exit if isinstance(over, Exited) else None),
        around,
        now=now,
    )


def _find(trainer: Trainer, job: Job, attempt: Attempt, folder: JobFolder, *, record: ExitRecord | None) -> FileFacts:
    """What the files say. OSError: the disk failed, and the caller tries again."""
    tail = _gathered(folder, "its log", lambda: metrics.tail(folder.log, attempt.log_offset), unknown="")
    if record is not None and record.last_words:
        tail = f"{tail}\n{record.last_words}".replace("\r", "\n")
    return FileFacts(
        counts_steps=trainer.traits.makes_checkpoints,
        refusal_status=trainer.traits.refusal_status,
        steps=_gathered(folder, "its steps", lambda: _steps(trainer, folder, attempt), unknown=None),
        checkpoint_step=_gathered(
            folder, "its checkpoints", lambda: _checkpoint_step(trainer, job, folder), unknown=0
        ),
        tail=tail,
        last_line=metrics.last_line(tail),
        result_problem=_gathered(
            folder,
            "its result",
            lambda: trainer.result_problem(folder, attempt.final_before),
            unknown="its result cannot be examined",
        ),
        log_size=metrics.size(folder.log),
        evidence=str((folder.attempt(attempt.number) / EVIDENCE).relative_to(folder.path)),
    )


def _gathered(folder: JobFolder, what: str, read: Callable[[], T], *, unknown: U) -> T | U:
    """What `read` returns, or `unknown` if it raises. An OSError is not caught: the disk failed, and the caller tries
    again. Any other exception is a bug in reading the job's files, and would come back at every try."""
    try:
        return read()
    except OSError:
        raise
    except Exception:
        log.exception("%s: %s could not be read; its end is recorded without it", folder.name, what)
        return unknown


def _steps(trainer: Trainer, folder: JobFolder, attempt: Attempt) -> Steps | None:
    reader = trainer.progress(folder, attempt)
    reader.read()
    return reader.steps


def _checkpoint_step(trainer: Trainer, job: Job, folder: JobFolder) -> int:
    checkpoint = newest(trainer.checkpoints(job.context, folder))
    return (checkpoint.step or 0) if checkpoint is not None else 0
