# SPDX-License-Identifier: Apache-2.0
"""A job starts from a checkpoint of another one, with the real daemon and the real trainer."""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fluxgym.errors import InvalidSetting, NoSuchJob
from fluxgym.protocol import machine_methods as mm
from fluxgym.protocol import methods as m
from fluxgym.protocol.client import Connection
from fluxgym.protocol.messages import Context, FailureKind, ResumeFrom, State
from fluxgym.protocol.plan_messages import JobPlan
from tests.daemon.running import ROOT, Asked, RunningDaemon, context, program, tensors

STEPS_PER_EPOCH = 16
PROCESS = ("--supervisor", "process")


@pytest.fixture(scope="module")
def shared(model: Path) -> Iterator[RunningDaemon]:
    """A daemon with the completed job `short`: 2 epochs of the 4 that `undisturbed` has."""
    folder = Path(tempfile.mkdtemp(prefix="fg-"))
    with RunningDaemon(folder, arguments=PROCESS) as daemon:
        daemon.submit(context("short", model, epochs=2))
        daemon.wait("short", State.COMPLETED)
        yield daemon
    shutil.rmtree(folder)


def compose(daemon: Asked, name: str, *, checkpoint: str | None = None, job: str = "short", **given: Any) -> Context:
    """The settings for a job that continues another."""
    more = given.pop("more_epochs", None)
    asked = Context(name=name, resume_from=ResumeFrom(job=job, checkpoint=checkpoint), **given)
    reply = daemon.call(m.COMPOSE, m.ComposeParameters(job=asked, more_epochs=more))
    assert isinstance(reply, m.ComposeReply)
    return reply.job


def reserved(daemon: Asked, name: str) -> tuple[str, int]:
    """The checkpoint that the first attempt started from, and its step."""
    (event, *_) = (event for event in daemon.events(name) if event["event"] == "reserved")
    return event["resumedFrom"], event["step"]


def plan_of(daemon: Asked, job: Context) -> JobPlan:
    with Connection(daemon.socket) as connection:
        (plan,) = (each.plan for each in connection.stream(m.PLAN, m.SubmitParameters(job=job)) if each.plan)
    return plan


def test_promise_5_epochs_added_later_give_the_same_bits_as_all_at_once(
    shared: RunningDaemon, undisturbed: dict[str, bytes], model: Path
) -> None:
    shared.submit(context("first", model, epochs=2))
    shared.wait("first", State.COMPLETED)
    shared.call(mm.PAUSE, m.Nothing())
    wanted = compose(shared, "undisturbed", job="first", more_epochs=2)
    assert (wanted.epochs, wanted.resume_from) == (4, ResumeFrom(job="first", checkpoint="first-state"))
    plan = plan_of(shared, wanted)
    assert plan.problems == []
    assert plan.training is not None
    assert plan.training.total_steps == 4 * STEPS_PER_EPOCH
    assert plan.disk is not None
    state = shared.folder("first") / "first-state"
    assert plan.disk.checkpoint == sum(file.stat().st_size for file in state.iterdir())
    shared.submit(wanted)
    shared.remove("first")  # the new job needs nothing of it
    shared.call(mm.CONTINUE, m.Nothing())
    shared.wait("undisturbed", State.COMPLETED)
    assert reserved(shared, "undisturbed") == ("undisturbed-000002-state", 2 * STEPS_PER_EPOCH)
    assert tensors(shared.folder("undisturbed") / "undisturbed.safetensors") == undisturbed
    told = shared.call(m.DESCRIBE, m.JobName(name="undisturbed")).job.context
    assert told.resume_from == wanted.resume_from


def test_a_branch_from_an_older_checkpoint_has_settings_of_its_own(shared: RunningDaemon) -> None:
    before = sorted(path.name for path in shared.folder("short").rglob("*"))
    shared.submit(compose(shared, "branch", checkpoint="short-000001-state", learning_rate=1e-4))
    shared.wait("branch", State.COMPLETED)
    assert reserved(shared, "branch") == ("branch-000001-state", STEPS_PER_EPOCH)
    job = shared.job("branch").context
    assert (job.learning_rate, job.epochs) == (1e-4, 2)
    assert sorted(path.name for path in shared.folder("short").rglob("*")) == before
    again = shared.call(m.COMPOSE, m.ComposeParameters(job=Context(name="new"), like="branch"))
    assert again.job.resume_from is None
    assert again.notes[-1] == (
        "branch started from a checkpoint of short; this job begins at step 0 unless you give "
        "--resume-from short:short-000001-state."
    )


@pytest.mark.parametrize(
    ("asked", "given", "why"),
    [
        (ResumeFrom(job="short"), {"epochs": 2}, "epochs is 2, but the checkpoint short-state already has 2"),
        (ResumeFrom(job="short", checkpoint="x"), {"epochs": 4}, "The job short has no checkpoint x;"),
        (ResumeFrom(job="short"), {"epochs": 4, "network_dim": 8}, "network_dim"),
    ],
)
def test_a_checkpoint_that_does_not_fit_is_refused_and_the_plan_says_why(
    shared: RunningDaemon, model: Path, asked: ResumeFrom, given: dict[str, Any], why: str
) -> None:
    wanted = context("wrong", model, resume_from=asked, **given)
    with pytest.raises(InvalidSetting, match=why):
        shared.submit(wanted)
    assert any(why in problem for problem in plan_of(shared, wanted).problems)
    assert not shared.folder("wrong").exists()


def test_a_job_that_does_not_exist_and_a_program_are_refused(shared: RunningDaemon, model: Path) -> None:
    with pytest.raises(NoSuchJob):
        shared.submit(context("wrong", model, epochs=4, resume_from=ResumeFrom(job="nobody")))
    with pytest.raises(InvalidSetting, match="resume_from"):
        shared.submit(program("wrong", resume_from=ResumeFrom(job="short")))
    with pytest.raises(InvalidSetting, match="more_epochs needs resume_from"):
        shared.call(m.COMPOSE, m.ComposeParameters(job=Context(name="new"), like="short", more_epochs=4))


def test_the_checkpoint_cannot_be_edited_and_without_it_the_job_is_not_started(shared: RunningDaemon) -> None:
    shared.submit(compose(shared, "bare", more_epochs=1, held=True))
    again = Context(name="bare", resume_from=ResumeFrom(job="short"), learning_rate=1e-4)
    edited = shared.call(m.EDIT, m.SubmitParameters(job=again)).job.context
    assert (edited.learning_rate, edited.resume_from) == (1e-4, ResumeFrom(job="short", checkpoint="short-state"))
    other = ResumeFrom(job="short", checkpoint="short-000001-state")
    with pytest.raises(InvalidSetting, match="resume_from cannot be changed"):
        shared.call(m.EDIT, m.SubmitParameters(job=Context(name="bare", resume_from=other)))
    shutil.rmtree(shared.folder("bare") / "bare-000002-state")
    shared.call(m.RELEASE, m.JobName(name="bare"))
    failed = shared.wait("bare", State.FAILED).runtime
    assert failed.failure is not None
    assert failed.failure.kind is FailureKind.NOT_RESUMABLE
    assert "It started from a checkpoint of the job short" in (failed.reason or "")


def test_sd_scripts_continues_its_own_state_of_a_finished_job(folder: Path, model: Path) -> None:
    path = ROOT / "tests" / "daemon" / "sd_scripts"
    with RunningDaemon(folder, arguments=PROCESS, env={"FLUXGYM_TRAINER_PATH": str(path)}) as daemon:
        daemon.submit(context("first", model, epochs=2))
        daemon.wait("first", State.COMPLETED)
        daemon.submit(compose(daemon, "more", job="first", more_epochs=2))
        daemon.wait("more", State.COMPLETED)
        assert reserved(daemon, "more")[0] == "more-000002-state"
