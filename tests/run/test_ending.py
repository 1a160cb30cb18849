# SPDX-License-Identifier: Apache-2.0
"""The event that ends an attempt, made from the files that the attempt left."""

import json
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from fluxgym.protocol.messages import FailureKind, Kind, RestartPolicy
from fluxgymd.core.ending import Circumstances
from fluxgymd.core.evidence import Exited, NeverStarted, Over, Rebooted
from fluxgymd.core.job import Job, Live, apply, fold, stop_asked
from fluxgymd.core.journal import events as e
from fluxgymd.core.journal.records import ExitRecord
from fluxgymd.core.restart import FRUITLESS_LIMIT
from fluxgymd.run.ending import end_event
from fluxgymd.store.home import JobFolder
from fluxgymd.trainers import state_folders
from tests.core import histories as h
from tests.store.files import LORA, our_state
from tests.trainers.adapters import trainers

WELL = Exited(ExitRecord(kind="exited", code=0))
BADLY = Exited(ExitRecord(kind="exited", code=1))
BY_TERM = Exited(ExitRecord(kind="exited", code=143))
KILLED = Exited(ExitRecord(kind="signaled", signal=9))
NEVER = NeverStarted()


@pytest.fixture
def folder(tmp_path: Path) -> JobFolder:
    """The folder of a training at step 45 of 160, with a complete state of step 40."""
    folder = JobFolder(tmp_path / "my-lora")
    our_state(folder.path / "my-lora-000004-state", epoch=4, step=40)
    tell(folder, step=45, totalSteps=160)
    folder.log.write_text("steps: 45/160\n")
    return folder


def tell(folder: JobFolder, **line: Any) -> None:
    with folder.metrics.open("a") as file:
        file.write(json.dumps({"time": 1.0, "phase": "training", **line}) + "\n")


def running(*, stopping: bool = False, fruitless: int = 0, **settings: Any) -> Job:
    """A job during an attempt. Before it there are `fruitless` interruptions, which follow an attempt that made the
    state of step 40."""
    submit = h.submitted()
    submit = msgspec.structs.replace(submit, context=msgspec.structs.replace(submit.context, **settings))
    history: list[e.AnyEvent] = [submit]
    for number in range(1, fruitless + 2 if fruitless else 1):
        step = 40 if number == 1 else 0
        history += [h.reserved(number), h.ended("interrupted", number, checkpoint_step=step)]
    attempt = fold(history).attempts + 1
    history += [h.reserved(attempt), h.started(attempt)]
    return fold([*history, h.stop_asked(attempt)] if stopping else history)


def end(job: Job, folder: JobFolder, over: Over, *, start_problem: str | None = None) -> e.Ended:
    assert isinstance(job.state, Live)
    before = time.time()
    trainer = trainers().of(job.context)
    event = end_event(
        trainer,
        job,
        job.state.attempt,
        folder,
        over,
        Circumstances(asked=stop_asked(job), start_problem=start_problem),
    )
    assert before <= event.at <= time.time()
    fold([*h.WAYS["running"], msgspec.structs.replace(event, attempt=1)])  # a journal may contain this event
    return event


def test_a_finished_training_is_completed(folder: JobFolder) -> None:
    tell(folder, step=160)
    (folder.path / "my-lora.safetensors").write_bytes(LORA)
    event = end(running(), folder, WELL)
    assert (event.outcome, event.step, event.exit, event.failure) == ("completed", 160, WELL.exit, None)
    assert (event.steps_lost, event.again, event.not_before) == (0, False, 0.0)


def test_promise_5_an_interruption_reports_the_lost_steps_and_the_job_is_resumed(folder: JobFolder) -> None:
    for over in (Rebooted(), BY_TERM, Exited(None)):
        event = end(running(), folder, over)
        assert (event.outcome, event.step, event.checkpoint_step, event.steps_lost) == ("interrupted", 45, 40, 5)
        assert (event.again, event.not_before) == (True, 0.0)


def test_without_a_state_all_steps_are_lost(tmp_path: Path) -> None:
    folder = JobFolder(tmp_path)
    tell(folder, step=7, totalSteps=160)
    event = end(running(), folder, Rebooted())
    assert (event.steps_lost, event.checkpoint_step, event.again) == (7, 0, True)


def test_a_failure_says_its_kind_and_is_final(folder: JobFolder) -> None:
    with folder.log.open("a") as log:
        log.write("torch.OutOfMemoryError: CUDA out of memory.\n")
    event = end(running(), folder, BADLY)
    assert (event.outcome, event.failure, event.again) == ("failed", "gpu_out_of_memory", False)
    assert event.reason == "It exited with status 1: torch.OutOfMemoryError: CUDA out of memory."
    assert event.steps_lost == 0  # no step is repeated unless a user resumes the job


def test_a_failure_that_is_retried_reports_the_lost_steps(folder: JobFolder) -> None:
    event = end(running(restart=RestartPolicy.ON_FAILURE), folder, BADLY)
    assert (event.outcome, event.again, event.steps_lost) == ("failed", True, 5)
    assert event.not_before == 0.0  # the attempt made the state of step 40
    fruitless = end(running(fruitless=1, restart=RestartPolicy.ON_FAILURE), folder, BADLY)
    assert fruitless.again
    assert round(fruitless.not_before - fruitless.at) == 120


def test_too_many_interruptions_are_a_failure_from_outside(folder: JobFolder) -> None:
    job = running(fruitless=FRUITLESS_LIMIT - 1)
    assert job.fruitless == FRUITLESS_LIMIT - 1
    event = end(job, folder, BY_TERM)
    assert (event.outcome, event.failure, event.again) == ("failed", FailureKind.KILLED.value, False)
    assert event.reason.endswith("It was tried 5 times without a new checkpoint and will not be retried.")


def fold_on(job: Job, *history: e.AnyEvent) -> Job:
    for event in history:
        job = apply(job, event)
    return job


def hung(job: Job, step: int, *, acts: bool = True) -> Job:
    """The same job after the watchdog has found a hang."""
    assert isinstance(job.state, Live)
    return apply(job, h.stuck(job.state.attempt.number, step=step, acts=acts))


def test_a_hang_is_an_interruption_that_is_resumed_and_says_where_its_evidence_is(folder: JobFolder) -> None:
    for over in (BY_TERM, KILLED, Exited(None), WELL):
        event = end(hung(running(), 45), folder, over)
        assert (event.outcome, event.failure, event.again, event.steps_lost) == ("interrupted", None, True, 5)
        assert event.reason == (
            "It hung in the phase training at step 45. Nothing moved for 600 s. "
            "The evidence is in attempts/001/evidence."
        )


def test_a_second_hang_at_the_same_step_is_the_end(folder: JobFolder) -> None:
    first = apply(hung(running(), 45), h.ended("interrupted", checkpoint_step=40))
    second = hung(fold_on(first, h.reserved(2, step=40), h.started(2)), 45)
    event = end(second, folder, KILLED)
    assert (event.outcome, event.failure, event.again) == ("failed", "stuck", False)
    assert event.reason.endswith(
        "It hung twice at step 45, so it will not be retried. The evidence is in attempts/002/evidence."
    )


def test_a_hang_of_a_job_that_is_never_retried_is_a_failure(folder: JobFolder) -> None:
    event = end(hung(running(restart=RestartPolicy.NEVER), 45), folder, KILLED)
    assert (event.outcome, event.failure, event.again) == ("failed", "stuck", False)


def test_a_hang_changes_nothing_about_a_stop_by_the_user_or_if_it_is_left_alone(folder: JobFolder) -> None:
    assert end(hung(running(stopping=True), 45), folder, KILLED).outcome == "stopped"
    left = end(hung(running(), 45, acts=False), folder, BADLY)
    assert (left.outcome, left.reason) == ("failed", end(running(), folder, BADLY).reason)


def test_the_log_before_an_attempt_says_nothing_about_it(folder: JobFolder) -> None:
    folder.log.write_text("torch.OutOfMemoryError: CUDA out of memory.\n")
    offset = folder.log.stat().st_size
    reservation = msgspec.structs.replace(
        h.reserved(), log_offset=offset, metrics_offset=folder.metrics.stat().st_size
    )
    event = end(fold([h.submitted(), reservation, h.started()]), folder, BADLY)
    assert (event.failure, event.reason, event.step) == ("other", "It exited with status 1.", 0)


@pytest.mark.parametrize(
    ("stopping", "why", "outcome", "reason", "again"),
    [
        (False, None, "never_started", "The daemon ended before the job was started.", True),
        (False, "The bus is away.", "never_started", "The bus is away.", False),
        (True, None, "stopped", "It was stopped before it ran.", False),
        (True, "The bus is away.", "stopped", "It was stopped before it ran.", False),
    ],
)
def test_an_attempt_that_was_never_started_is_retried_unless_a_stop_was_asked_for(
    folder: JobFolder, *, stopping: bool, why: str | None, outcome: str, reason: str, again: bool
) -> None:
    event = end(running(stopping=stopping), folder, NEVER, start_problem=why)
    assert (event.outcome, event.reason, event.again) == (outcome, reason, again)
    assert (event.exit, event.step, event.steps_lost) == (ExitRecord(kind="never-started"), 0, 0)


def test_a_program_is_judged_by_its_result(tmp_path: Path) -> None:
    folder = JobFolder(tmp_path)
    job = running(kind=Kind.PROGRAM, program=["/bin/true"])
    assert end(job, folder, WELL).reason == "It exited with status 0, but it wrote no result.json."
    (folder.path / "result.json").write_text('{"files": []}')
    assert end(job, folder, WELL).outcome == "completed"


@pytest.mark.parametrize("replaced", [False, True])
def test_promise_7_unknown_progress_is_not_held_against_a_complete_result(
    folder: JobFolder, *, replaced: bool
) -> None:
    """An editor saved metrics.jsonl at step 45, and the trainer kept writing to the old file."""
    reservation = msgspec.structs.replace(h.reserved(), metrics_inode=folder.metrics.stat().st_ino)
    job = fold([h.submitted(), reservation, h.started()])
    (folder.path / "my-lora.safetensors").write_bytes(LORA)
    if replaced:
        copy = folder.metrics.with_suffix(".copy")
        shutil.copy(folder.metrics, copy)
        copy.rename(folder.metrics)
    event = end(job, folder, WELL)
    assert event.outcome == ("completed" if replaced else "failed")
    assert event.reason == (
        "Finished successfully." if replaced else "It exited with status 0, but only 45 of 160 steps were trained."
    )


def test_what_a_program_reports_is_for_people_and_its_result_decides(tmp_path: Path) -> None:
    folder = JobFolder(tmp_path)
    job = running(kind=Kind.PROGRAM, program=["/bin/true"])
    tell(folder, step=1, totalSteps=9)
    (folder.path / "result.json").write_text('{"files": []}')
    assert end(job, folder, WELL).outcome == "completed"


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("metrics.jsonl", b'{"time":1,"phase":"training","step":1,"totalSteps":9' + b"0" * 400 + b"}\n"),
        ("metrics.jsonl", b"[" * 100_000),
        ("training.log", b"\xff\0" * 10_000),
        ("my-lora.safetensors", b"\x20" + bytes(7) + b"[" * 32),
        ("my-lora-000004-state/train_state.json", b'{"current_epoch":4,"current_step":4' + b"0" * 400 + b"}"),
        ("my-lora-000004-state/train_state.json", b'{"current_epoch":4,"current_step":18446744073709551615}'),
        ("my-lora-000004-state/optimizer.bin", b"PK" * 1000),
        ("my-lora-000008-state", b"a file in place of a folder"),
    ],
)
@pytest.mark.parametrize("over", [WELL, BADLY, Rebooted()], ids=["well", "badly", "rebooted"])
def test_nothing_that_a_job_writes_prevents_recording_its_end(
    folder: JobFolder, name: str, content: bytes, over: Over
) -> None:
    (folder.path / name).write_bytes(content)
    event = end(running(), folder, over)
    assert event.outcome in ("failed", "interrupted")
    assert e.decode(e.encode(event)) == event


@pytest.mark.parametrize(
    "name", ["metrics.jsonl", "training.log", "my-lora.safetensors", "my-lora-000004-state/optimizer.bin"]
)
@pytest.mark.parametrize("make", [os.mkfifo, Path.mkdir, lambda path: path.symlink_to("nowhere")])
def test_a_path_that_is_not_a_file_does_not_prevent_recording_the_end(
    folder: JobFolder, name: str, make: Callable[[Path], None]
) -> None:
    (folder.path / name).unlink(missing_ok=True)
    make(folder.path / name)
    assert end(running(), folder, WELL).outcome == "failed"


def test_a_bug_with_a_checkpoint_does_not_prevent_recording_the_end(
    folder: JobFolder, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("unforeseen")

    monkeypatch.setattr(state_folders, "scan", fail)
    event = end(running(), folder, BADLY)
    assert (event.outcome, event.step, event.checkpoint_step) == ("failed", 45, 0)
    assert "its checkpoints could not be read; its end is recorded without it" in caplog.text
