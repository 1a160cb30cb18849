# SPDX-License-Identifier: Apache-2.0
"""Real hangs of the real trainer, end to end: the daemon finds each hang, saves evidence, ends the trainer and
resumes the job, and the final LoRA equals that of an uninterrupted run (promise 7).

The jobs run side by side, each on its own simulated GPU. Only the phase that hangs has short limits; the other phases
have the usual ones, so that a slow machine makes no healthy phase look stuck.
"""

import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fluxgym.protocol import machine_methods as mm
from fluxgym.protocol import methods as m
from fluxgym.protocol.messages import Context, FailureKind, Kind, State, WatchdogMode
from tests.daemon.hanging import HANGS, SHORT, Hang, hanging, name_of, once, submit_all
from tests.daemon.installed import InstalledDaemon
from tests.daemon.running import TRAINER_PYTHON, TRAINING_SECONDS, Asked, RunningDaemon, context, tensors
from tests.gpus.nvml import Nvml, gpu
from tests.harness.hung_volume import HungVolume
from tests.harness.user_manager import UserManager
from tests.harness.waiting import until

STOP_LIMIT = "FLUXGYM_STOP_LIMIT_SECONDS"
DEADLINE = TRAINING_SECONDS


def events_of(daemon: Asked, name: str, kind: str) -> list[dict[str, Any]]:
    return [event for event in daemon.events(name) if event["event"] == kind]


def check(daemon: Asked, hang: Hang, undisturbed: dict[str, bytes]) -> None:
    """Checks the evidence of a hang and the outcome of its job."""
    name = name_of(hang)
    folder = daemon.folder(name)
    (stuck,) = events_of(daemon, name, "stuck")
    assert (stuck["rule"], stuck["phase"], stuck["attempt"], stuck["acts"]) == (hang.rule, hang.phase, 1, True)
    assert stuck["evidence"], "promise 7: a verdict comes with its evidence"

    evidence = folder / "attempts" / "001" / "evidence"
    names = {"verdict.json", "observations.jsonl", "nvml.json", "processes.txt", "log-tail.txt", "stacks.txt"}
    assert {path.name for path in evidence.iterdir()} == names
    stacks = (evidence / "stacks.txt").read_text()
    assert "Fatal Python error" not in stacks, "it was asked for them, and lived"
    if hang.kind != "stop":  # SIGCONT woke this one before it was asked for its stacks
        assert f"in {hang.kind}\n" in stacks
        assert hang.function in stacks
    assert hang.uuid in (evidence / "nvml.json").read_text()
    assert "flux_train_network.py" in (evidence / "processes.txt").read_text()
    assert (evidence / "observations.jsonl").read_text().count("\n") >= 2
    told = (folder / "monitor.log").read_text()
    assert told.count("Watchdog: stuck") == 1
    assert "The evidence is in attempts/001/evidence." in told

    ends = events_of(daemon, name, "ended")
    outcomes = [end["outcome"] for end in ends]
    if hang.kind == "stop" and outcomes == ["completed"]:
        pass  # SIGCONT let it finish before SIGTERM arrived
    else:
        assert outcomes == ["interrupted", "completed"]
        assert ends[0]["reason"].startswith(f"It hung in the phase {hang.phase}")
        assert ends[0]["reason"].endswith("The evidence is in attempts/001/evidence.")
    assert ends[-1]["step"] == 64
    assert tensors(folder / f"{name}.safetensors") == undisturbed


def tell_all(nvml: Nvml, *more: str) -> None:
    nvml.tell(*(gpu(hang.uuid, utilization=hang.utilization) for hang in HANGS), *more)


def test_promise_7_every_hang_is_found_ended_and_resumed(
    folder: Path, model: Path, nvml_library: Path, undisturbed: dict[str, bytes]
) -> None:
    nvml = Nvml(nvml_library, folder / "nvml.txt")
    tell_all(nvml)
    env = {**nvml.environment, STOP_LIMIT: "3"}
    with RunningDaemon(folder, arguments=("--supervisor", "process"), env=env) as daemon:
        submit_all(daemon, model, folder)
        for hang in HANGS:
            daemon.wait(name_of(hang), State.COMPLETED)
            check(daemon, hang, undisturbed)


@pytest.mark.systemd
def test_promise_7_every_hang_in_a_scope_is_found_too(
    user_manager: UserManager, model: Path, nvml_library: Path, undisturbed: dict[str, bytes]
) -> None:
    nvml = Nvml(nvml_library, user_manager.directory / "nvml.txt")
    tell_all(nvml)
    variables = {**nvml.environment, STOP_LIMIT: "3"}
    lines = "".join(f'Environment="{name}={value}"\n' for name, value in variables.items())
    daemon = InstalledDaemon(user_manager, drop_in=f"[Service]\n{lines}")
    try:
        submit_all(daemon, model, user_manager.directory)
        for hang in HANGS:
            daemon.wait(name_of(hang), State.COMPLETED)
            check(daemon, hang, undisturbed)
        until(lambda: not daemon.running_scopes(), what="the scopes to be gone")
    finally:
        daemon.end_jobs()


@pytest.fixture
def quick(folder: Path) -> Iterator[RunningDaemon]:
    """A daemon that gives trainers only one second to save."""
    arguments = ("--supervisor", "process")
    with RunningDaemon(folder, arguments=arguments, env={STOP_LIMIT: "1"}) as running:
        yield running


STILL = {"training_still_seconds": SHORT}


def test_a_second_hang_at_the_same_step_stops_the_job_and_says_so(quick: RunningDaemon, model: Path) -> None:
    quick.submit(hanging("my-lora", model, "sleep@training:20", STILL))
    failed = until(lambda: look_for(quick, State.FAILED), what="the job to fail", deadline_seconds=DEADLINE).runtime
    assert failed.reason is not None
    assert "It hung twice at step 19, so it will not be retried." in failed.reason
    assert failed.reason.endswith("The evidence is in attempts/002/evidence.")
    assert failed.failure is not None
    assert failed.failure.kind is FailureKind.STUCK
    assert [end["outcome"] for end in events_of(quick, "my-lora", "ended")] == ["interrupted", "failed"]
    for attempt in ("001", "002"):
        stacks = (quick.folder("my-lora") / "attempts" / attempt / "evidence" / "stacks.txt").read_text()
        assert "in sleep\n" in stacks

    quick.call(m.RESUME, m.ResumeParameters(name="my-lora"))  # as a user does who has fixed the cause
    quick.wait("my-lora", State.RUNNING)
    quick.call(m.STOP, m.StopParameters(name="my-lora"))
    quick.wait("my-lora", State.STOPPED)


def look_for(daemon: Asked, state: State) -> Any:
    job = daemon.job("my-lora")
    return job if job.runtime.state is state else None


def test_a_hang_is_only_reported_if_the_job_asks_for_no_more(quick: RunningDaemon, model: Path) -> None:
    quick.submit(hanging("my-lora", model, "sleep@training:20", STILL, watchdog=WatchdogMode.WARN))
    monitor = quick.folder("my-lora") / "monitor.log"

    def told(times: int) -> bool:
        return (
            monitor.exists() and monitor.read_text().count("left running because its watchdog only warns.") == times
        )

    until(lambda: told(1), what="the hang to be told", deadline_seconds=DEADLINE)
    quick.kill()
    quick.start()
    until(lambda: told(2), what="the next daemon to find it too", deadline_seconds=DEADLINE)
    assert quick.job("my-lora").runtime.state is State.RUNNING
    (stuck,) = events_of(quick, "my-lora", "stuck")  # one event per hang, even after a restart of the daemon
    assert not stuck.get("acts")
    assert not (quick.folder("my-lora") / "attempts" / "001" / "evidence").exists()
    quick.call(m.STOP, m.StopParameters(name="my-lora"))
    stopped = quick.wait("my-lora", State.STOPPED).runtime
    assert stopped.reason == "It was stopped by the user at step 19; it had to be killed."


def test_promise_7_a_trainer_that_hangs_before_it_reports_anything_is_found(folder: Path, model: Path) -> None:
    python = folder / "python"
    python.write_text(f'#!/bin/sh\n[ -z "$FLUXGYM_METRICS" ] || exec sleep 1000\nexec {TRAINER_PYTHON} "$@"\n')
    python.chmod(0o755)
    env = {STOP_LIMIT: "1", "FLUXGYM_TRAINER_PYTHON": str(python)}
    with RunningDaemon(folder, arguments=("--supervisor", "process"), env=env) as daemon:
        limits = {"interval_seconds": 1.0, "starting_still_seconds": 5.0}
        daemon.submit(context("my-lora", model, watchdog_limits=limits))
        (stuck,) = until(lambda: events_of(daemon, "my-lora", "stuck")[:1], what="the hang to be found")
        assert (stuck["rule"], stuck["phase"]) == ("still", "starting")
        (end,) = until(lambda: events_of(daemon, "my-lora", "ended")[:1], what="the end of the first attempt")
        assert end["reason"].startswith("It hung in the phase starting.")


def test_a_daemon_in_act_mode_ends_a_hang_that_another_only_reported(quick: RunningDaemon, model: Path) -> None:
    mode = "FLUXGYM_WATCHDOG_MODE"
    quick.stop()
    quick.environment[mode] = "warn"
    quick.start()
    quick.submit(hanging("my-lora", model, "sleep@training:20", STILL))
    until(lambda: events_of(quick, "my-lora", "stuck"), what="the hang to be told", deadline_seconds=DEADLINE)
    quick.stop()
    del quick.environment[mode]
    quick.start()
    (end,) = until(
        lambda: events_of(quick, "my-lora", "ended")[:1], what="the hang to be ended", deadline_seconds=DEADLINE
    )
    assert (end["outcome"], end["attempt"]) == ("interrupted", 1)
    assert [bool(stuck.get("acts")) for stuck in events_of(quick, "my-lora", "stuck")[:2]] == [False, True]


def test_a_stop_by_the_user_stays_a_stop(quick: RunningDaemon, model: Path) -> None:
    """The hang is found while a stop waits for a checkpoint that never comes."""
    quick.submit(hanging("my-lora", model, "sleep@training:20", STILL))
    quick.wait_for_step("my-lora", 19)
    quick.call(m.STOP, m.StopParameters(name="my-lora", after_checkpoint=True))
    stopped = quick.wait("my-lora", State.STOPPED).runtime
    assert len(events_of(quick, "my-lora", "stuck")) == 1
    assert stopped.reason == "It was stopped by the user at step 19; it had to be killed."


FOREIGN = """
import signal, threading
signal.signal(signal.SIGTERM, lambda *_: None)
def waits_for_ever(): threading.Event().wait()
print("begins", flush=True)
while True: waits_for_ever()
"""


def test_a_foreign_program_is_aborted_at_its_limit_and_its_stacks_are_kept(quick: RunningDaemon) -> None:
    program = ["/usr/bin/env", "python3", "-c", FOREIGN, "--huggingface_token", "hf_abcdefghijklmnopqrstuvwxyz"]
    limits = {"interval_seconds": 1, "without_phase_seconds": 5}
    quick.submit(
        Context(
            name="my-lora",
            kind=Kind.PROGRAM,
            program=program,
            watchdog=WatchdogMode.ACT,
            watchdog_limits={name: float(value) for name, value in limits.items()},
        )
    )
    (end,) = until(lambda: events_of(quick, "my-lora", "ended")[:1], what="the end of the first attempt")
    assert (end["outcome"], end["exit"]["signal"]) == ("interrupted", signal.SIGABRT)
    evidence = quick.folder("my-lora") / "attempts" / "001" / "evidence"
    stacks = (evidence / "stacks.txt").read_text()
    assert stacks.startswith("Fatal Python error: Aborted")
    assert "in waits_for_ever\n" in stacks
    described = (evidence / "processes.txt").read_text()
    assert "--huggingface_token ***" in described
    assert "hf_abc" not in described


def test_promise_7_a_hung_nvml_hides_no_hang_and_makes_no_healthy_job_one(
    folder: Path, model: Path, nvml_library: Path
) -> None:
    nvml = Nvml(nvml_library, folder / "nvml.txt")
    both = (gpu("GPU-a", utilization=0), gpu("GPU-b", utilization=0))
    nvml.tell(*both)
    env = {**nvml.environment, STOP_LIMIT: "1"}
    with RunningDaemon(folder, arguments=("--supervisor", "process"), env=env) as daemon:
        limits = {"interval_seconds": 1.0, "gpu_idle_seconds": 16.0, "step_floor_seconds": 16.0}
        daemon.submit(hanging("my-lora", model, "spin@training:20", limits))
        daemon.submit(context("healthy", model, epochs=10_000, watchdog_limits=limits))
        daemon.wait("healthy", State.RUNNING)
        daemon.wait("my-lora", State.RUNNING)
        nvml.tell(*both, "hang nvmlDeviceGetUtilizationRates")
        look = lambda: events_of(daemon, "my-lora", "stuck")  # noqa: E731
        (stuck,) = until(look, what="the hang to be found", deadline_seconds=DEADLINE)
        assert stuck["rule"] in ("step", "progress")
        step = daemon.job("healthy").runtime.progress
        assert step is not None
        daemon.wait_for_step("healthy", (step.step or 0) + 1)
        assert events_of(daemon, "healthy", "stuck") == []
        daemon.call(m.STOP, m.StopParameters(name="healthy"))


def test_promise_4_a_gpu_with_an_unkillable_process_is_quarantined(
    folder: Path, model: Path, nvml_library: Path
) -> None:
    nvml = Nvml(nvml_library, folder / "nvml.txt")
    nvml.tell(gpu("GPU-a"))
    (folder / "volume").mkdir()
    env = {**nvml.environment, STOP_LIMIT: "1", "FLUXGYM_STOP_UNKILLABLE_SECONDS": "1"}
    with RunningDaemon(folder, arguments=("--supervisor", "process"), env=env) as daemon:
        with HungVolume(folder / "volume"):
            # It hangs in the kernel, creating this file.
            job = hanging("my-lora", model, "sleep@training:20", STILL)
            daemon.submit(once(job, folder / "volume" / "hung"))
            aside = until(lambda: put_aside(daemon), what="the GPU to be put aside", deadline_seconds=DEADLINE)
            assert aside == "Attempt 1 of the job my-lora ran on it, and its processes cannot be killed."
            assert any("GPU GPU-a is quarantined" in reason for reason in daemon.info().degraded)
            described = folder / "home/outputs/my-lora/attempts/001/evidence/processes.txt"
            assert "debug_hang_once" in described.read_text()
            daemon.kill()
            daemon.start()  # the quarantine is recorded per machine and outlasts the daemon
            assert until(lambda: put_aside(daemon), what="the GPU to be shown") == aside
        until(lambda: events_of(daemon, "my-lora", "ended"), what="the trainer to be gone", deadline_seconds=DEADLINE)
        daemon.submit(context("another", model))
        waits = until(lambda: daemon.job("another").runtime.reason, what="the next job to say why it waits")
        assert waits == "GPU 0 is quarantined; `fluxgymctl gpus` says why and how to clear it."
        daemon.call(mm.CLEAR_QUARANTINE, mm.GpuName(gpu="0"))
        assert put_aside(daemon) is None
        daemon.wait("my-lora", State.RUNNING)


def put_aside(daemon: Asked) -> str | None:
    (one,) = daemon.call(mm.GPUS, m.Nothing()).gpus
    aside = one.put_aside
    assert aside is None or isinstance(aside, str)
    return aside
