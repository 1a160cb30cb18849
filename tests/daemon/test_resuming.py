# SPDX-License-Identifier: Apache-2.0
"""Interrupted in every way and at any step, a job ends with the LoRA of a run that nothing happened to."""

import json
import os
import random
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fluxgym import methods as m
from fluxgym.messages import State
from tests.daemon.running import RunningDaemon, context, tensors
from tests.harness.waiting import until

EPOCHS, STEPS_PER_EPOCH = 8, 16
STEPS = EPOCHS * STEPS_PER_EPOCH


@pytest.fixture(scope="module")
def long_run(model: Path) -> Iterator[dict[str, bytes]]:
    """The tensors of 128 steps that nothing happened to."""
    folder = Path(tempfile.mkdtemp(prefix="fg-"))
    with RunningDaemon(folder, arguments=("--supervisor", "process")) as daemon:
        daemon.submit(context("undisturbed", model, epochs=EPOCHS))
        daemon.wait("undisturbed", State.COMPLETED)
        yield tensors(daemon.folder("undisturbed") / "undisturbed.safetensors")
    shutil.rmtree(folder)


def reach(daemon: RunningDaemon, name: str, attempt: int, step: int) -> int:
    """Waits until the trainer of this attempt has told that a step is done; its pid. Read from its own file, since
    the daemon looks at that once a second and a step takes a fortieth."""
    pid: int = event_of(daemon, name, "started", attempt)["trainer"]["pid"]
    metrics = daemon.folder(name) / "metrics.jsonl"
    begin = event_of(daemon, name, "reserved", attempt)["metricsOffset"]

    def done() -> bool:
        told = metrics.read_bytes()[begin:] if metrics.exists() else b""
        lines = told[: told.rfind(b"\n") + 1].splitlines()
        return bool(lines) and (json.loads(lines[-1]).get("step") or 0) >= step

    until(done, what=f"step {step}")
    return pid


def event_of(daemon: RunningDaemon, name: str, kind: str, attempt: int) -> dict[str, Any]:
    """Waits for an event of an attempt."""

    def look() -> dict[str, Any] | None:
        found = [event for event in daemon.events(name) if (event["event"], event.get("attempt")) == (kind, attempt)]
        return found[0] if found else None

    return until(look, what=f"attempt {attempt} to be {kind}")


def newest_step(daemon: RunningDaemon, name: str) -> int:
    found = daemon.call(m.CHECKPOINTS, m.JobName(name=name)).checkpoints
    return max((checkpoint.step or 0 for checkpoint in found if checkpoint.complete), default=0)


def test_promise_5_after_any_number_of_interruptions_the_result_is_the_same(
    daemon: RunningDaemon, model: Path, long_run: dict[str, bytes]
) -> None:
    draw = random.Random(5)
    daemon.submit(context("my-lora", model, epochs=EPOCHS))
    ways = ["SIGTERM", "SIGKILL", "SIGTERM", "SIGKILL to all", "SIGTERM"]
    step = 0
    for number, way in enumerate(ways, start=1):
        # What is killed loses its steps since the last state: far enough for one more, so that the job gets on.
        step += draw.randint(2, 12) if way == "SIGTERM" else draw.randint(STEPS_PER_EPOCH + 1, 26)
        print(f"attempt {number}: {way} at step {step}")
        pid = reach(daemon, "my-lora", number, step)
        if way == "SIGTERM":
            os.kill(pid, signal.SIGTERM)
        else:
            os.kill(pid, signal.SIGSTOP)
            if way == "SIGKILL to all":
                os.kill(event_of(daemon, "my-lora", "spawned", number)["shim"]["pid"], signal.SIGKILL)
            os.kill(pid, signal.SIGKILL)
        event_of(daemon, "my-lora", "ended", number)
        step = newest_step(daemon, "my-lora")
        if way == "SIGKILL":
            daemon.wait("my-lora", State.FAILED)
            daemon.call(m.RESUME, m.ResumeParameters(name="my-lora"))
    daemon.wait("my-lora", State.COMPLETED)

    events = daemon.events("my-lora")
    begun = [event for event in events if event["event"] == "reserved"]
    ended = [event for event in events if event["event"] == "ended"]
    assert [event["outcome"] for event in ended] == [
        *("interrupted", "failed", "interrupted", "interrupted", "interrupted", "completed")
    ]
    # Each goes on exactly where the one before it had saved last, and the last one ends at the planned step.
    assert [event.get("step", 0) for event in begun] == [0, *(event["checkpointStep"] for event in ended[:-1])]
    lost = [event.get("stepsLost", 0) for event in ended]
    assert (lost[0], lost[2], lost[4]) == (0, 0, 0)  # it saves on SIGTERM
    assert ended[-1]["step"] == STEPS
    result = daemon.folder("my-lora") / "my-lora.safetensors"
    assert metadata(result)["ss_steps"] == str(STEPS)
    assert tensors(result) == long_run


SD_SCRIPTS = Path(__file__).parent / "sd_scripts"


@pytest.mark.parametrize("seed", [1, 2])
def test_promise_5_sd_scripts_trains_each_epoch_once_after_any_number_of_kills(
    folder: Path, model: Path, seed: int
) -> None:
    """Killed anywhere, also while it writes a state in place; its own counter is wrong from the second attempt on."""
    draw = random.Random(seed)
    trainer = {"FLUXGYM_TRAINER_PATH": str(SD_SCRIPTS), "FLUXGYM_TRAINER_PYTHON": sys.executable}
    with RunningDaemon(folder, arguments=("--supervisor", "process"), env=trainer) as daemon:
        daemon.submit(context("my-lora", model, epochs=12))
        done = 0
        for number in range(1, 6):
            done = draw.randint(done + 1, min(done + 3, 11))
            kill_at(daemon, number, draw.choice([f"epoch {done + 1}/12", f"saving state: my-lora-{done:06d}-state"]))
            daemon.wait("my-lora", State.FAILED)
            found = daemon.call(m.CHECKPOINTS, m.JobName(name="my-lora")).checkpoints
            done = max((state.epoch or 0 for state in found if state.complete), default=0)
            daemon.call(m.RESUME, m.ResumeParameters(name="my-lora"))
        daemon.wait("my-lora", State.COMPLETED)
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
    """SIGKILL to the trainer once this attempt has printed these words."""
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
