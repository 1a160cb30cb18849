# SPDX-License-Identifier: Apache-2.0
"""However and whenever it is interrupted, a job ends with the same LoRA as an uninterrupted run."""

import json
import os
import random
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from fluxgym.errors import FileMissing, InvalidSetting
from fluxgym.protocol import methods as m
from fluxgym.protocol.messages import Context, FailureKind, State
from tests.daemon.installed import InstalledDaemon
from tests.daemon.running import Asked, RunningDaemon, context, tensors, tiny_model
from tests.harness.user_manager import UserManager
from tests.harness.waiting import until

EPOCHS, STEPS_PER_EPOCH = 6, 16
STEPS = EPOCHS * STEPS_PER_EPOCH

Kill = Callable[[int, str], None]
"""Ends an attempt, given its number: TERM or KILL for the trainer, `KILL all` for all its processes."""


@pytest.fixture(scope="module")
def long_run(model: Path) -> Iterator[dict[str, bytes]]:
    """The tensors of an uninterrupted run."""
    folder = Path(tempfile.mkdtemp(prefix="fg-"))
    with RunningDaemon(folder, arguments=("--supervisor", "process")) as daemon:
        daemon.submit(context("undisturbed", model, epochs=EPOCHS))
        daemon.wait("undisturbed", State.COMPLETED)
        yield tensors(daemon.folder("undisturbed") / "undisturbed.safetensors")
    shutil.rmtree(folder)


def event_of(daemon: Asked, name: str, kind: str, attempt: int) -> dict[str, Any]:
    """Waits for an event of an attempt."""

    def look() -> dict[str, Any] | None:
        found = [event for event in daemon.events(name) if (event["event"], event.get("attempt")) == (kind, attempt)]
        return found[0] if found else None

    return until(look, what=f"attempt {attempt} to be {kind}")


def newest_step(daemon: Asked, name: str) -> int:
    found = daemon.call(m.CHECKPOINTS, m.JobName(name=name)).checkpoints
    return max((checkpoint.step or 0 for checkpoint in found if checkpoint.complete), default=0)


def interrupt_five_times(daemon: Asked, model: Path, long_run: dict[str, bytes], kill: Kill, seed: int) -> None:
    draw = random.Random(seed)
    daemon.submit(context("my-lora", model, epochs=EPOCHS))
    step = 0
    for number, way in enumerate(("TERM", "KILL", "TERM", "KILL all", "TERM"), start=1):
        # SIGKILL loses the steps since the last state, so let the attempt first get far enough to save another one.
        step += draw.randint(2, 12) if way == "TERM" else draw.randint(STEPS_PER_EPOCH + 1, 26)
        print(f"attempt {number}: SIG{way} at step {step}")
        daemon.reach("my-lora", step, attempt=number)
        kill(number, way)
        event_of(daemon, "my-lora", "ended", number)
        step = newest_step(daemon, "my-lora")
        if way == "KILL":
            daemon.wait("my-lora", State.FAILED)
            daemon.call(m.RESUME, m.ResumeParameters(name="my-lora"))
    daemon.wait("my-lora", State.COMPLETED)

    events = daemon.events("my-lora")
    begun = [event for event in events if event["event"] == "reserved"]
    ended = [event for event in events if event["event"] == "ended"]
    assert [event["outcome"] for event in ended] == [
        *("interrupted", "failed", "interrupted", "interrupted", "interrupted", "completed")
    ]
    # Each attempt resumes exactly where the last one saved, and the final one ends at the planned step.
    assert [event.get("step", 0) for event in begun] == [0, *(event["checkpointStep"] for event in ended[:-1])]
    lost = [event.get("stepsLost", 0) for event in ended]
    assert (lost[0], lost[2], lost[4]) == (0, 0, 0)  # it saves on SIGTERM, so no steps are lost
    assert ended[-1]["step"] == STEPS
    result = daemon.folder("my-lora") / "my-lora.safetensors"
    assert metadata(result)["ss_steps"] == str(STEPS)
    assert tensors(result) == long_run
    # Old states are deleted after the end is recorded.
    until(lambda: len(list(daemon.folder("my-lora").glob("*-state*"))) == 3, what="three states to be left")


def test_promise_5_after_any_number_of_interruptions_the_result_is_the_same(
    daemon: RunningDaemon, model: Path, long_run: dict[str, bytes]
) -> None:
    def kill(number: int, way: str) -> None:
        trainer = event_of(daemon, "my-lora", "started", number)["trainer"]["pid"]
        if way == "TERM":
            os.kill(trainer, signal.SIGTERM)
            return
        os.kill(trainer, signal.SIGSTOP)
        if way == "KILL all":
            os.kill(event_of(daemon, "my-lora", "spawned", number)["shim"]["pid"], signal.SIGKILL)
        os.kill(trainer, signal.SIGKILL)

    interrupt_five_times(daemon, model, long_run, kill, seed=5)


@pytest.mark.systemd
def test_promise_5_the_result_is_the_same_in_scopes_too(
    user_manager: UserManager, model: Path, long_run: dict[str, bytes]
) -> None:
    daemon = InstalledDaemon(user_manager)

    def kill(number: int, way: str) -> None:
        if way == "KILL all":
            unit = event_of(daemon, "my-lora", "reserved", number)["unit"]
            user_manager.systemctl("kill", "--kill-whom=all", "--signal=KILL", unit)
        else:
            trainer = event_of(daemon, "my-lora", "started", number)["trainer"]["pid"]
            user_manager.send_signal(trainer, signal.Signals[f"SIG{way}"])

    try:
        interrupt_five_times(daemon, model, long_run, kill, seed=6)
    finally:
        daemon.end_jobs()


def test_promise_5_a_changed_setting_is_explained_and_the_job_never_starts_over(
    daemon: RunningDaemon, model: Path, undisturbed: dict[str, bytes]
) -> None:
    daemon.submit(context("my-lora", model))
    daemon.reach("my-lora", 18)
    daemon.call(m.STOP, m.StopParameters(name="my-lora"))
    daemon.wait("my-lora", State.STOPPED)
    saved = newest_step(daemon, "my-lora")

    events = daemon.events("my-lora")
    with pytest.raises(InvalidSetting) as refusal:
        daemon.call(m.EDIT, m.SubmitParameters(job=Context(name="my-lora", network_dim=8)))
    assert f"my-lora-step{saved:08d}-state" in refusal.value.message
    assert "network_dim" in refusal.value.message
    assert daemon.events("my-lora") == events

    daemon.call(m.EDIT, m.SubmitParameters(job=Context(name="my-lora", learning_rate=2e-3, keep_states=5)))
    daemon.call(m.RESUME, m.ResumeParameters(name="my-lora"))
    daemon.wait("my-lora", State.COMPLETED)
    assert event_of(daemon, "my-lora", "reserved", 2)["step"] == saved
    assert tensors(daemon.folder("my-lora") / "my-lora.safetensors") == undisturbed


def test_promise_5_a_job_that_would_fail_at_once_is_not_started_and_can_be_resumed_once_corrected(
    daemon: RunningDaemon, model: Path, folder: Path
) -> None:
    encoder = folder / "t5.safetensors"
    shutil.copy(model / "t5xxl_fp16.safetensors", encoder)
    files = msgspec.structs.replace(tiny_model(model), t5xxl=str(encoder))
    daemon.submit(msgspec.structs.replace(context("my-lora", model, epochs=1, held=True), model=files))
    encoder.rename(folder / "away")
    daemon.call(m.RELEASE, m.JobName(name="my-lora"))
    failed = daemon.wait("my-lora", State.FAILED).runtime
    assert failed.reason is not None
    assert failed.reason.startswith(f"The file {encoder} for T5-XXL does not exist")
    assert failed.failure is not None
    assert failed.failure.kind is FailureKind.MISSING_FILE
    assert [event["event"] for event in daemon.events("my-lora")] == ["submitted", "released", "barred"]

    with pytest.raises(FileMissing, match=r"for T5-XXL does not exist"):
        daemon.call(m.RESUME, m.ResumeParameters(name="my-lora"))
    assert [event["event"] for event in daemon.events("my-lora")][-1] == "barred"
    (folder / "away").rename(encoder)
    assert daemon.call(m.RESUME, m.ResumeParameters(name="my-lora")).warnings == []
    daemon.wait("my-lora", State.COMPLETED)


SD_SCRIPTS = Path(__file__).parent / "sd_scripts"


@pytest.mark.parametrize("seed", [1, 2])
def test_promise_5_sd_scripts_trains_each_epoch_once_after_any_number_of_kills(
    folder: Path, model: Path, seed: int
) -> None:
    """Killed anywhere, even while writing a state in place. From the second attempt on its step counter is wrong."""
    draw = random.Random(seed)
    trainer = {"FLUXGYM_TRAINER_PATH": str(SD_SCRIPTS), "FLUXGYM_TRAINER_PYTHON": sys.executable}
    with RunningDaemon(folder, arguments=("--supervisor", "process"), env=trainer) as daemon:
        daemon.submit(context("my-lora", model, epochs=12))
        done = 0
        for number in range(1, 6):
            done = draw.randint(done + 1, min(done + 3, 11))
            kill_at(daemon, number, draw.choice([f"epoch {done + 1}/12", f"saving state at epoch {done}\n"]))
            daemon.wait("my-lora", State.FAILED)
            found = daemon.call(m.CHECKPOINTS, m.JobName(name="my-lora")).checkpoints
            done = max((state.epoch or 0 for state in found if state.complete), default=0)
            daemon.call(m.RESUME, m.ResumeParameters(name="my-lora"))
        daemon.wait("my-lora", State.COMPLETED)
        assert event_of(daemon, "my-lora", "ended", 6)["step"] == 12 * STEPS_PER_EPOCH  # as its progress bar reported
        trained = json.loads(metadata(daemon.folder("my-lora") / "my-lora.safetensors")["trained"])
        assert trained == list(range(1, 13))
        begun = [event for event in daemon.events("my-lora") if event["event"] == "reserved"]
        for event in begun[1:]:
            name = event.get("resumedFrom")
            assert event.get("step", 0) == (int(name.split("-")[2]) * STEPS_PER_EPOCH if name else 0)
        aside = [name for event in begun for name in event.get("setAside", [])]
        assert all((daemon.folder("my-lora") / name).is_dir() for name in aside)
        log = (daemon.folder("my-lora") / "monitor.log").read_text()
        assert all(f"was set aside as {name}" in log for name in aside)


def kill_at(daemon: RunningDaemon, attempt: int, words: str) -> None:
    """Sends SIGKILL to the trainer once this attempt has printed this text."""
    pid = event_of(daemon, "my-lora", "started", attempt)["trainer"]["pid"]
    begin = event_of(daemon, "my-lora", "reserved", attempt)["logOffset"]
    log = daemon.folder("my-lora") / "training.log"
    until(lambda: words.encode() in log.read_bytes()[begin:], what=f"{words!r} in the log")
    os.kill(pid, signal.SIGKILL)
    event_of(daemon, "my-lora", "ended", attempt)


def metadata(path: Path) -> dict[str, str]:
    data = path.read_bytes()
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    found: dict[str, str] = header["__metadata__"]
    return found
