# SPDX-License-Identifier: Apache-2.0
"""From submit to result with jobs as plain processes, and what must not disturb a job."""

import os
import signal
import socket
from pathlib import Path

import msgspec
import pytest

from fluxgym.errors import NoSuchJob, WrongState
from fluxgym.protocol import methods as m
from fluxgym.protocol.client import Connection
from fluxgym.protocol.framing import encode
from fluxgym.protocol.messages import ExitKind, State, WaitingFor
from tests.daemon.running import RunningDaemon, context, program, tensors
from tests.harness.log_lines import last_states


def test_a_submitted_job_becomes_a_lora(daemon: RunningDaemon, model: Path) -> None:
    prompts = ["a red face --w 64 --h 64 --s 2 --d 1"]
    reply = daemon.submit(context("my-lora", model, sample_prompts=prompts, sample_every_epochs=2))
    assert reply.job.runtime.state is State.QUEUED
    job = daemon.wait("my-lora", State.COMPLETED)

    folder = daemon.folder("my-lora")
    assert job.runtime.result == str(folder / "my-lora.safetensors")
    assert tensors(folder / "my-lora.safetensors")
    assert job.runtime.attempt is not None
    assert job.runtime.attempt.exit is not None
    assert (job.runtime.attempt.exit.kind, job.runtime.attempt.exit.code) == (ExitKind.EXITED, 0)
    assert job.runtime.progress is not None
    assert (job.runtime.progress.step, job.runtime.progress.total_steps) == (64, 64)
    assert [event["event"] for event in daemon.events("my-lora")] == [
        *("submitted", "reserved", "spawned", "placed", "started", "ended")
    ]
    assert len(list((folder / "sample").glob("*_*.png"))) == 2
    assert {path.name for path in (folder / "attempts" / "001").iterdir()} >= {
        "shim.json",
        "started.json",
        "exit.json",
    }
    assert sorted(path.name for path in (folder / "dataset").glob("*.png")) == sorted(
        path.name for path in (model / "pictures").glob("*.png")
    )
    assert "steps:" in daemon.training_log("my-lora")
    assert not (folder / "monitor.pid").exists()

    checkpoints = daemon.call(m.CHECKPOINTS, m.JobName(name="my-lora")).checkpoints
    assert [checkpoint.step for checkpoint in checkpoints] == [64, 48, 32]
    assert all(checkpoint.complete for checkpoint in checkpoints)

    daemon.call(m.REMOVE, m.JobName(name="my-lora"))
    assert not folder.exists()
    with pytest.raises(NoSuchJob):
        daemon.job("my-lora")


def test_promise_1_a_killed_and_restarted_daemon_changes_nothing(
    daemon: RunningDaemon, model: Path, undisturbed: dict[str, bytes]
) -> None:
    daemon.submit(context("my-lora", model))
    daemon.reach("my-lora", 5)
    before = daemon.job("my-lora")
    daemon.kill()
    daemon.start()
    after = daemon.job("my-lora")
    assert after.runtime.attempt is not None
    assert before.runtime.attempt is not None
    assert after.runtime.attempt.pid == before.runtime.attempt.pid
    ended = daemon.wait("my-lora", State.COMPLETED).runtime.attempt
    assert ended is not None
    assert ended.number == 1
    assert tensors(daemon.folder("my-lora") / "my-lora.safetensors") == undisturbed


def test_promise_2_the_exit_code_of_a_job_that_ended_meanwhile_is_kept(daemon: RunningDaemon, model: Path) -> None:
    daemon.submit(context("my-lora", model, epochs=1000))
    job = daemon.wait_for_step("my-lora", 2)
    assert job.runtime.attempt is not None
    assert job.runtime.attempt.pid is not None
    daemon.kill()
    os.kill(job.runtime.attempt.pid, signal.SIGKILL)
    daemon.start()
    ended = daemon.wait("my-lora", State.FAILED).runtime.attempt
    assert ended is not None
    assert ended.exit is not None
    assert (ended.exit.kind, ended.exit.signal, ended.exit.code) == (ExitKind.SIGNALED, signal.SIGKILL, None)


def test_a_stopped_job_saves_first_and_resumes_to_the_same_result(
    daemon: RunningDaemon, model: Path, undisturbed: dict[str, bytes]
) -> None:
    daemon.submit(context("my-lora", model))
    daemon.reach("my-lora", 21)
    assert daemon.call(m.STOP, m.StopParameters(name="my-lora")).job.runtime.state is State.STOPPING
    stopped = daemon.wait("my-lora", State.STOPPED)
    assert stopped.runtime.steps_lost == 0
    assert stopped.runtime.attempt is not None
    assert stopped.runtime.attempt.exit is not None
    assert stopped.runtime.attempt.exit.code == 128 + signal.SIGTERM
    daemon.call(m.RESUME, m.ResumeParameters(name="my-lora"))
    resumed = daemon.wait("my-lora", State.COMPLETED)
    assert resumed.runtime.attempt is not None
    assert resumed.runtime.attempt.number == 2
    assert resumed.runtime.attempt.resumed_from is not None
    assert tensors(daemon.folder("my-lora") / "my-lora.safetensors") == undisturbed


def test_promise_5_a_sigterm_from_outside_is_an_interruption_and_the_job_is_resumed_automatically(
    daemon: RunningDaemon, model: Path, undisturbed: dict[str, bytes]
) -> None:
    daemon.submit(context("my-lora", model))
    daemon.reach("my-lora", 5)
    job = daemon.job("my-lora")
    assert job.runtime.attempt is not None
    assert job.runtime.attempt.pid is not None
    os.kill(job.runtime.attempt.pid, signal.SIGTERM)
    daemon.wait("my-lora", State.COMPLETED)
    outcomes = [event["outcome"] for event in daemon.events("my-lora") if event["event"] == "ended"]
    assert outcomes == ["interrupted", "completed"]
    assert tensors(daemon.folder("my-lora") / "my-lora.safetensors") == undisturbed


def test_one_job_at_a_time_runs_on_a_machine_without_a_gpu(daemon: RunningDaemon, model: Path) -> None:
    daemon.submit(context("first", model, epochs=1000))
    daemon.wait("first", State.RUNNING)
    daemon.submit(context("second", model))
    with Connection(daemon.socket) as connection:
        for reply in connection.stream(m.WATCH, m.WatchParameters(name="second")):
            if reply.job is not None and reply.job.runtime.waiting_for is WaitingFor.GPU:
                break
    assert [job.context.name for job in daemon.jobs()] == ["second", "first"]

    # A queued job is cancelled immediately, and can be queued again.
    assert daemon.call(m.STOP, m.StopParameters(name="second")).job.runtime.state is State.STOPPED
    with pytest.raises(WrongState):
        daemon.call(m.STOP, m.StopParameters(name="second"))
    with pytest.raises(WrongState):
        daemon.call(m.REMOVE, m.JobName(name="first"))
    daemon.call(m.RESUME, m.ResumeParameters(name="second"))
    daemon.call(m.STOP, m.StopParameters(name="first"))
    daemon.wait("first", State.STOPPED)
    daemon.wait("second", State.COMPLETED)


def test_what_list_shows_can_be_submitted_again(daemon: RunningDaemon, model: Path) -> None:
    daemon.submit(context("first", model, epochs=1000))
    first = daemon.job("first").context
    again = daemon.submit(msgspec.structs.replace(first, name="again"))
    assert again.job.context.epochs == 1000


def test_logs_follow_to_the_end_and_continue_from_an_offset(daemon: RunningDaemon, model: Path) -> None:
    daemon.submit(context("my-lora", model))
    with Connection(daemon.socket) as connection:
        replies = list(connection.stream(m.LOGS, m.LogsParameters(name="my-lora", follow=True)))
    text = "".join(reply.text for reply in replies)
    log = daemon.training_log("my-lora")
    assert last_states(text) == last_states(log)
    middle = replies[0].offset
    with Connection(daemon.socket) as connection:
        rest = "".join(
            reply.text for reply in connection.stream(m.LOGS, m.LogsParameters(name="my-lora", offset=middle))
        )
    assert last_states(replies[0].text + rest) == last_states(log)


def test_a_call_is_carried_out_completely_although_its_client_hangs_up(daemon: RunningDaemon) -> None:
    """If a stop were cut off half-way, its event would be on the disk but not in memory, and the next event would
    contradict it."""
    daemon.submit(program("first", "exec sleep infinity"))
    daemon.wait("first", State.RUNNING)
    for number in range(20):
        name = f"queued-{number}"
        daemon.submit(program(name, after=["first"]))
        with socket.socket(socket.AF_UNIX) as hasty:
            hasty.connect(str(daemon.socket))
            hasty.sendall(encode({"method": m.STOP.name, "parameters": {"name": name}}))
        daemon.wait(name, State.STOPPED)
        assert [event["event"] for event in daemon.events(name)] == ["submitted", "cancelled"]
