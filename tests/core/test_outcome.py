# SPDX-License-Identifier: Apache-2.0
"""How an ended attempt is judged: the table of outcomes, each with the sentence that the user reads."""

import signal
from typing import Any

import msgspec
import pytest

from fluxgymd.core.job import Hang
from fluxgymd.core.journal.records import ExitRecord
from fluxgymd.core.outcome import Ending, Outcome, Steps, judge

BY_TERM = "It was ended from outside FluxGym by SIGTERM."
FULL = "It exited with status 1: error: no room."
BY_HAND = "Its scope was stopped from outside FluxGym."


def exited(code: int, **facts: Any) -> ExitRecord:
    return ExitRecord(kind="exited", code=code, **facts)


def killed(number: int, **facts: Any) -> ExitRecord:
    return ExitRecord(kind="signaled", signal=number, **facts)


def judged(record: ExitRecord | None, **facts: Any) -> Outcome:
    """The verdict on an attempt that trained all its steps, unless `facts` say otherwise."""
    usual: dict[str, Any] = {
        "rebooted": False,
        "unsupervised": False,
        "stop_asked": False,
        "manager_stays": False,
        "step": 100,
        "steps": Steps(done=facts.get("step", 100), planned=100),
        "counts_steps": True,
        "result_problem": None,
        "last_line": None,
        "hang": None,
    }
    return judge(Ending(exit=record, **usual | facts))


@pytest.mark.parametrize("stop_asked", [False, True])
@pytest.mark.parametrize("term_seen", [False, True])
@pytest.mark.parametrize("manager_stays", [False, True])
def test_exit_0_with_all_steps_and_a_complete_file_is_completed_whatever_else_happened(
    *, stop_asked: bool, term_seen: bool, manager_stays: bool
) -> None:
    outcome = judged(exited(0, term_seen=term_seen), stop_asked=stop_asked, manager_stays=manager_stays)
    assert outcome == Outcome("completed", "Finished successfully.")


def test_a_trainer_that_reports_no_steps_is_judged_by_its_file() -> None:
    assert judged(exited(0), steps=None).kind == "completed"


def test_more_steps_than_planned_count_as_all_steps() -> None:
    assert judged(exited(0), step=101).kind == "completed"


@pytest.mark.parametrize(
    ("facts", "reason"),
    [
        (
            {"result_problem": "its final file my-lora.safetensors is missing"},
            "It exited with status 0, but its final file my-lora.safetensors is missing.",
        ),
        ({"step": 99}, "It exited with status 0, but only 99 of 100 steps were trained."),
        (
            {"step": 99, "result_problem": "its final file is damaged"},
            "It exited with status 0, but its final file is damaged.",
        ),
    ],
)
def test_exit_0_without_the_result_is_failed(facts: dict[str, Any], reason: str) -> None:
    assert judged(exited(0), **facts) == Outcome("failed", reason)


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        (exited(0), "It was stopped by the user at step 40."),
        (exited(143), "It was stopped by the user at step 40."),
        (exited(143, term_seen=True), "It was stopped by the user at step 40."),
        (exited(1), "It was stopped by the user at step 40."),
        (killed(signal.SIGTERM), "It was stopped by the user at step 40."),
        (killed(signal.SIGKILL, term_seen=True), "It was stopped by the user at step 40; it had to be killed."),
        (None, "It was stopped by the user at step 40; its exit status is unknown."),
    ],
)
@pytest.mark.parametrize("manager_stays", [False, True])
def test_a_stop_by_the_user_is_stopped_at_every_exit(
    *, record: ExitRecord | None, reason: str, manager_stays: bool
) -> None:
    assert judged(record, stop_asked=True, step=40, manager_stays=manager_stays) == Outcome("stopped", reason)


@pytest.mark.parametrize(
    ("record", "manager_stays", "outcome"),
    [
        (exited(143), False, Outcome("interrupted", BY_TERM)),
        (exited(143, term_seen=True), False, Outcome("interrupted", BY_TERM)),
        (exited(0, term_seen=True), False, Outcome("interrupted", BY_TERM)),
        (exited(1, term_seen=True), False, Outcome("interrupted", BY_TERM)),
        (killed(signal.SIGTERM), False, Outcome("interrupted", BY_TERM)),
        (killed(signal.SIGTERM, term_seen=True), False, Outcome("interrupted", BY_TERM)),
        (killed(signal.SIGKILL, term_seen=True), False, Outcome("interrupted", BY_TERM)),
        # The manager keeps running and stopped only this scope, so a person wanted that.
        (exited(143, term_seen=True), True, Outcome("stopped", BY_HAND)),
        (exited(0, term_seen=True), True, Outcome("stopped", BY_HAND)),
        (killed(signal.SIGKILL, term_seen=True), True, Outcome("stopped", BY_HAND)),
        # The shim got no SIGTERM. Only the trainer did, so the manager didn't send it.
        (exited(143), True, Outcome("interrupted", BY_TERM)),
        (killed(signal.SIGTERM), True, Outcome("interrupted", BY_TERM)),
    ],
)
def test_a_foreign_sigterm_is_an_interruption_or_a_stop_by_hand(
    *, record: ExitRecord, manager_stays: bool, outcome: Outcome
) -> None:
    assert judged(record, manager_stays=manager_stays, step=40) == outcome


@pytest.mark.parametrize("number", [1, 2, 3, 10, 12, 15, 30])  # HUP, INT, QUIT, USR1, USR2, TERM, PWR
@pytest.mark.parametrize("manager_stays", [False, True])
def test_a_signal_from_outside_that_ends_the_trainer_is_an_interruption(*, number: int, manager_stays: bool) -> None:
    by = Outcome("interrupted", f"It was ended from outside FluxGym by {signal.Signals(number).name}.")
    for record in (killed(number), exited(128 + number), killed(number, term_seen=True, endings_seen=(number,))):
        if signal.SIGTERM not in record.endings_seen:
            assert judged(record, manager_stays=manager_stays, step=40) == by


@pytest.mark.parametrize("number", [4, 5, 6, 7, 8, 9, 11, 13, 14, 24, 25, 31])
def test_a_signal_that_a_fault_of_the_program_causes_is_a_failure(number: int) -> None:
    assert judged(killed(number), step=40).kind == "failed"
    assert judged(exited(128 + number), step=40).kind == "failed"


@pytest.mark.parametrize(
    ("seen", "manager_stays", "outcome"),
    [
        # A manager stops a scope with SIGTERM and with no other signal.
        ((2,), True, Outcome("interrupted", "It was ended from outside FluxGym by SIGINT.")),
        ((1,), True, Outcome("interrupted", "It was ended from outside FluxGym by SIGHUP.")),
        ((1, 15), True, Outcome("stopped", BY_HAND)),
        ((1, 15), False, Outcome("interrupted", BY_TERM)),
    ],
)
def test_the_shims_record_says_which_signal_the_whole_attempt_got(
    *, seen: tuple[int, ...], manager_stays: bool, outcome: Outcome
) -> None:
    record = exited(1, term_seen=True, endings_seen=seen)
    assert judged(record, manager_stays=manager_stays, step=40) == outcome


TORN = "its final file is damaged"
TOGETHER = "It ended together with its supervisor, so its exit status is unknown."


@pytest.mark.parametrize(
    ("facts", "reason"),
    [
        ({"rebooted": True}, "The machine went down while it ran."),
        ({"rebooted": True, "step": 40}, "The machine went down while it ran."),
        ({"step": 40}, TOGETHER),
        ({"result_problem": TORN}, TOGETHER),
        ({"steps": None}, TOGETHER),
        ({"steps": Steps(done=100, planned=None)}, TOGETHER),
        ({"counts_steps": False, "result_problem": TORN}, TOGETHER),
        (
            {"unsupervised": True, "step": 40},
            "It ended after its supervisor, so its exit status is unknown.",
        ),
    ],
)
def test_promise_2_without_a_record_no_exit_code_is_invented(facts: dict[str, Any], reason: str) -> None:
    assert judged(None, **facts) == Outcome("interrupted", reason)


@pytest.mark.parametrize("unsupervised", [False, True])
@pytest.mark.parametrize("facts", [{}, {"stop_asked": True}, {"counts_steps": False, "steps": None}])
def test_if_the_exit_is_unknown_the_declared_result_decides(facts: dict[str, Any], *, unsupervised: bool) -> None:
    reason = "Its result is complete. Its exit status is unknown: its supervisor was gone."
    assert judged(None, unsupervised=unsupervised, **facts) == Outcome("completed", reason)


@pytest.mark.parametrize(
    ("record", "last_line", "reason"),
    [
        (exited(1), None, "It exited with status 1."),
        (exited(1), "error: no picture", "It exited with status 1: error: no picture."),
        # 137 is an ordinary exit status: only a record of a signal counts as one.
        (exited(137), None, "It exited with status 137."),
        (killed(signal.SIGSEGV), None, "It was killed by SIGSEGV."),
        (killed(signal.SIGKILL), None, "It was killed by SIGKILL."),
        (
            killed(signal.SIGKILL, oom_kills=1),
            None,
            "It was killed by SIGKILL because the machine ran out of memory.",
        ),
        (
            killed(signal.SIGKILL, oom_kills=2),
            "steps: 4/10",
            "It was killed by SIGKILL because the machine ran out of memory: steps: 4/10.",
        ),
        (
            exited(1, disk_full=True),
            "steps: 4/10",
            "It exited with status 1: steps: 4/10. The disk that holds its log was full.",
        ),
        (exited(1, disk_full=True, last_words="error: no room\n"), "error: no room", FULL),
        (killed(40), None, "It was killed by 40."),
        (killed(200), None, "It was killed by 200."),
        (
            ExitRecord(kind="exec-failed", errno=2),
            None,
            "It could not be started: the file, or the interpreter that it names, does not exist.",
        ),
        (ExitRecord(kind="exec-failed", errno=13), None, "It could not be started: the file is not executable."),
        (ExitRecord(kind="exec-failed", errno=5), None, "It could not be started: errno 5."),
    ],
)
def test_a_failure_says_what_happened(record: ExitRecord, last_line: str | None, reason: str) -> None:
    assert judged(record, last_line=last_line) == Outcome("failed", reason)


HANG = Hang(
    at=9.0, rule="still", why="Nothing moved for 600 s.", since=3.0, evidence=(), phase="training", step=40, acts=True
)


@pytest.mark.parametrize("record", [None, exited(1), exited(0), exited(143), killed(6), killed(9)])
@pytest.mark.parametrize("rebooted", [False, True])
def test_a_job_stopped_for_a_hang_is_interrupted_however_it_ended(
    record: ExitRecord | None, *, rebooted: bool
) -> None:
    outcome = judged(record, hang=HANG, step=41, rebooted=rebooted)
    assert outcome == Outcome("interrupted", "It hung in the phase training at step 40. Nothing moved for 600 s.")


def test_a_hang_that_finished_after_all_is_completed_and_a_stop_by_the_user_stays_one() -> None:
    assert judged(exited(0), hang=HANG).kind == "completed"
    assert judged(killed(9), hang=HANG, stop_asked=True).kind == "stopped"


def test_a_hang_of_a_program_has_no_step() -> None:
    hang = msgspec.structs.replace(HANG, step=0, phase=None)
    assert judged(killed(9), hang=hang).reason == "It hung. Nothing moved for 600 s."
