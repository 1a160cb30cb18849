# SPDX-License-Identifier: Apache-2.0
"""What clients are shown of a job in each of its states."""

from pathlib import Path
from typing import Any

import msgspec
import pytest

from fluxgym.protocol.messages import (
    Exit,
    ExitKind,
    Failure,
    FailureKind,
    Kind,
    Phase,
    Progress,
    Slow,
    State,
    WaitingFor,
)
from fluxgymd.core.energy import Meter
from fluxgymd.core.failure import advice
from fluxgymd.core.job import fold
from fluxgymd.core.journal.records import ExitRecord
from fluxgymd.core.measures import pace
from fluxgymd.jobs.entry import Entry, Now
from fluxgymd.jobs.view import show
from fluxgymd.store.home import JobFolder
from fluxgymd.store.journal import Journal
from tests.core import histories as h

FOLDER = JobFolder(Path("/home/outputs/my-lora"))
PROGRESS = Progress(phase=Phase.TRAINING, step=5, updated_at=1.0)


def entry(way: str, **facts: Any) -> Entry:
    return Entry(FOLDER, fold(h.WAYS[way]), Journal(FOLDER.journal, 0), now=Now(**facts))


STATES = {
    "queued": State.QUEUED,
    "starting": State.STARTING,
    "running": State.RUNNING,
    "stopping": State.STOPPING,
    "lost": State.LOST,
    "lost while stopping": State.LOST,
    "completed": State.COMPLETED,
    "failed": State.FAILED,
    "stopped": State.STOPPED,
    "interrupted": State.INTERRUPTED,
    "stopping later": State.STOPPING,
    "held": State.QUEUED,
    "interrupted and held": State.INTERRUPTED,
}


@pytest.mark.parametrize(("way", "state"), STATES.items())
def test_each_state_has_its_word(way: str, state: State) -> None:
    shown = show(entry(way))
    assert shown.context == h.CONTEXT
    assert shown.runtime.state is state
    assert (shown.runtime.id, shown.runtime.submitted_at, shown.runtime.home) == ("0" * 32, 1.0, str(FOLDER.path))


@pytest.mark.parametrize(
    ("way", "reason"),
    [
        ("queued", None),
        ("running", None),
        ("stopping", None),
        ("lost", "Lost contact with the job: its supervisor is gone. Its GPU stays reserved."),
        ("completed", "It is completed."),
        ("interrupted", "It is interrupted."),
    ],
)
def test_a_job_says_why_it_is_as_it_is(way: str, reason: str | None) -> None:
    assert show(entry(way)).runtime.reason == reason


def test_a_queued_job_says_why_its_last_start_failed() -> None:
    assert show(entry("queued", start_problem="The bus is away.")).runtime.reason == "The bus is away."


@pytest.mark.parametrize(
    ("way", "shown"), [("queued", WaitingFor.GPU), ("interrupted", WaitingFor.GPU), ("running", None)]
)
def test_only_a_job_that_waits_waits_for_something(way: str, shown: WaitingFor | None) -> None:
    assert show(entry(way, waiting_for=WaitingFor.GPU)).runtime.waiting_for == shown


def test_a_waiting_job_says_the_nearest_reason() -> None:
    retried = fold([*h.WAYS["running"], h.ended("failed", again=True, not_before=39.0)])
    now = Now(waiting_for=WaitingFor.BACK_OFF)
    shown = show(Entry(FOLDER, retried, Journal(FOLDER.journal, 0), now=now)).runtime
    assert (shown.state, shown.reason, shown.not_before) == (State.QUEUED, "It is failed.", 39.0)
    assert show(entry("queued", waiting_detail="It waits for b.")).runtime.reason == "It waits for b."
    both = show(entry("queued", waiting_detail="It waits for b.", start_problem="The bus is away."))
    assert both.runtime.reason == "The bus is away."
    assert show(entry("interrupted", waiting_detail="It waits for b.")).runtime.reason == "It is interrupted."


@pytest.mark.parametrize("way", STATES)
def test_only_a_failed_job_has_a_failure(way: str) -> None:
    failure = show(entry(way)).runtime.failure
    other = Failure(kind=FailureKind.OTHER, advice=advice(FailureKind.OTHER, name="my-lora"))
    assert failure == (other if way == "failed" else None)


def test_a_failure_has_its_kind_and_advice() -> None:
    job = fold([*h.WAYS["running"], h.ended("failed", failure="disk_full")])
    shown = show(Entry(FOLDER, job, Journal(FOLDER.journal, 0))).runtime.failure
    assert shown == Failure(kind=FailureKind.DISK_FULL, advice=advice(FailureKind.DISK_FULL, name="my-lora"))


@pytest.mark.parametrize(("size", "recommended"), [(None, True), (1, True), (0, False)])
def test_the_log_is_recommended_unless_it_is_known_to_be_empty(size: int | None, *, recommended: bool) -> None:
    for failure in FailureKind:
        if failure not in (FailureKind.UNKNOWN, FailureKind.BAD_DATASET):  # BAD_DATASET is only found in a log
            end = msgspec.structs.replace(h.ended("failed", failure=failure), log_size=size)
            shown = show(Entry(FOLDER, fold([*h.WAYS["running"], end]), Journal(FOLDER.journal, 0))).runtime.failure
            assert shown is not None
            usual = "fluxgymctl logs" in advice(failure, name="my-lora")
            assert ("fluxgymctl logs" in shown.advice) == (usual and recommended)


def test_promise_9_a_failure_of_a_newer_version_is_shown_as_other() -> None:
    job = fold([*h.WAYS["running"], h.ended("failed", failure="eaten_by_moths")])
    shown = show(Entry(FOLDER, job, Journal(FOLDER.journal, 0))).runtime.failure
    assert shown == Failure(kind=FailureKind.OTHER, advice=advice(FailureKind.OTHER, name="my-lora"))


def test_the_result_of_a_program_is_what_it_declares() -> None:
    submit = h.submitted()
    program = msgspec.structs.replace(submit.context, kind=Kind.PROGRAM)
    job = fold([msgspec.structs.replace(submit, context=program), *h.WAYS["completed"][1:]])
    shown = show(Entry(FOLDER, job, Journal(FOLDER.journal, 0))).runtime
    assert shown.result == "/home/outputs/my-lora/result.json"


@pytest.mark.parametrize(
    ("way", "restarts"),
    [("queued", (0, 4)), ("running", (0, 4)), ("interrupted", (1, 4)), ("completed", (None, None))],
)
def test_a_job_that_has_not_ended_shows_its_restarts(way: str, restarts: tuple[int | None, int | None]) -> None:
    shown = show(entry(way)).runtime
    assert (shown.restarts, shown.restarts_allowed) == restarts


def test_energy_is_shown_for_present_and_ended_attempts() -> None:
    meter = Meter(attempt=1, unseen=0.0, watts=100.0, clock=1.0, seconds=3600.0, joules=360_000.0)
    assert show(entry("running", meter=meter)).runtime.energy == 100.0
    assert show(entry("running")).runtime.energy is None
    end = msgspec.structs.replace(h.ended("completed"), energy=42.0)
    job = fold([*h.WAYS["running"], end])
    shown = show(Entry(FOLDER, job, Journal(FOLDER.journal, 0), now=Now(meter=meter))).runtime
    assert shown.energy == 42.0


@pytest.mark.parametrize("way", STATES)
def test_only_a_live_job_is_slow(way: str) -> None:
    slow = show(entry(way, slow=pace.Slow(since=5.0, seconds_per_step=3.0, usual=1.0))).runtime.slow
    live = ("starting", "running", "stopping", "lost", "lost while stopping", "stopping later")
    assert slow == (Slow(since=5.0, seconds_per_step=3.0, usual=1.0) if way in live else None)


@pytest.mark.parametrize("way", STATES)
def test_only_a_completed_job_has_a_result(way: str) -> None:
    result = "/home/outputs/my-lora/my-lora.safetensors" if way == "completed" else None
    assert show(entry(way)).runtime.result == result


def test_a_running_attempt_is_shown_with_its_process() -> None:
    shown = show(entry("running", progress=PROGRESS)).runtime
    assert shown.progress == PROGRESS
    assert shown.attempt is not None
    assert (shown.attempt.number, shown.attempt.pid, shown.attempt.gpus) == (1, 101, ["GPU-1"])
    assert (shown.attempt.started_at, shown.attempt.ended_at, shown.attempt.exit) == (2.0, None, None)


def test_an_attempt_that_ended_shows_no_process_but_how_it_ended() -> None:
    attempt = show(entry("failed")).runtime.attempt
    assert attempt is not None
    assert (attempt.pid, attempt.ended_at) == (None, 9.0)
    assert attempt.exit == Exit(kind=ExitKind.EXITED, code=0, term_seen=False)


@pytest.mark.parametrize(
    ("record", "shown"),
    [
        (None, Exit(kind=ExitKind.UNKNOWN, term_seen=False)),
        (ExitRecord(kind="exited", code=137), Exit(kind=ExitKind.EXITED, code=137, term_seen=False)),
        (
            ExitRecord(kind="signaled", signal=9, term_seen=True),
            Exit(kind=ExitKind.SIGNALED, signal=9, term_seen=True),
        ),
        (ExitRecord(kind="exec-failed", errno=2), Exit(kind=ExitKind.EXEC_FAILED, term_seen=False)),
        (ExitRecord(kind="never-started"), Exit(kind=ExitKind.NEVER_STARTED, term_seen=False)),
        (ExitRecord(kind="evaporated"), Exit(kind=ExitKind.UNKNOWN, term_seen=False)),
    ],
)
def test_promise_2_the_exit_is_shown_as_it_was_recorded(record: ExitRecord | None, shown: Exit) -> None:
    end = msgspec.structs.replace(h.ended("failed"), exit=record)
    job = fold([*h.WAYS["running"], end])
    attempt = show(Entry(FOLDER, job, Journal(FOLDER.journal, 0))).runtime.attempt
    assert attempt is not None
    assert attempt.exit == shown


def test_a_resumed_attempt_names_its_checkpoint() -> None:
    resumed = msgspec.structs.replace(h.reserved(), resumed_from="my-lora-000004-state")
    job = fold([h.submitted(), resumed])
    attempt = show(Entry(FOLDER, job, Journal(FOLDER.journal, 0))).runtime.attempt
    assert attempt is not None
    assert attempt.resumed_from == "/home/outputs/my-lora/my-lora-000004-state"
