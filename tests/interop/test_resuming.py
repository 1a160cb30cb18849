# SPDX-License-Identifier: Apache-2.0
"""A test of sd-scripts itself under a real daemon that is stopped and killed: no complete epoch is trained again, and
the training ends at the planned step."""

import os
import re
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest

from fluxgym.errors import InvalidSetting
from fluxgym.protocol import methods as m
from fluxgym.protocol.messages import Context, Phase, State
from tests.daemon.running import RunningDaemon, context
from tests.harness.waiting import BUILD_SECONDS, until
from tests.interop.conftest import PICTURES
from tests.interop.training import Upstream

EPOCHS, REPEATS = 5, 2
STEPS_PER_EPOCH = REPEATS * len(PICTURES)
NAME = "my-lora"


def job(model: Path, *, epochs: int) -> Context:
    options = {"t5xxl_max_token_length": ["64"]}  # the default, 512, takes minutes without a GPU
    return context(NAME, model, repeats=REPEATS, epochs=epochs, trainer_options=options)


def event_of(daemon: RunningDaemon, kind: str, attempt: int) -> dict[str, Any]:
    """Waits for an event of an attempt and returns it."""

    def look() -> dict[str, Any] | None:
        found = [event for event in daemon.events(NAME) if (event["event"], event.get("attempt")) == (kind, attempt)]
        return found[0] if found else None

    return until(look, what=f"attempt {attempt} to be {kind}")


def output_of(daemon: RunningDaemon, attempt: int) -> str:
    """Returns what an attempt has printed, up to the start of the next attempt."""
    reserved = [event for event in daemon.events(NAME) if event["event"] == "reserved"]
    offsets = [event["logOffset"] for event in reserved] + [None]
    data = (daemon.folder(NAME) / "training.log").read_bytes()
    return data[offsets[attempt - 1] : offsets[attempt]].decode(errors="replace")


def wait_for_words(daemon: RunningDaemon, attempt: int, words: str) -> None:
    event_of(daemon, "started", attempt)
    until(lambda: words in output_of(daemon, attempt), what=f"{words!r} in the log")


def epochs_of(daemon: RunningDaemon, attempt: int) -> list[int]:
    return [int(epoch) for epoch in re.findall(r"^epoch (\d+)/", output_of(daemon, attempt), re.MULTILINE)]


def kill_trainer(daemon: RunningDaemon, attempt: int) -> None:
    os.kill(event_of(daemon, "started", attempt)["trainer"]["pid"], signal.SIGKILL)


def complete_epochs(daemon: RunningDaemon) -> int:
    found = daemon.call(m.CHECKPOINTS, m.JobName(name=NAME)).checkpoints
    return max(state.epoch or 0 for state in found if state.complete)


def optimizer_steps(upstream: Upstream, state: Path) -> int:
    """Returns AdamW's own count of all updates of the weights in a state."""
    script = "import sys, torch; print(int(torch.load(sys.argv[1], weights_only=True)['state'][0]['step']))"
    printed = subprocess.run(
        [upstream.python, "-c", script, state / "optimizer.bin"],
        check=True,
        capture_output=True,
        text=True,
        timeout=BUILD_SECONDS,
    )
    return int(printed.stdout)


def test_promise_5_sd_scripts_itself_trains_exactly_the_planned_steps(
    daemon: RunningDaemon, upstream: Upstream, model: Path
) -> None:
    daemon.submit(job(model, epochs=EPOCHS))

    # Stopped after its next complete state. sd-scripts cannot do this, so the daemon waits for the state.
    wait_for_words(daemon, 1, f"epoch 1/{EPOCHS}")
    daemon.call(m.STOP, m.StopParameters(name=NAME, after_checkpoint=True))
    daemon.wait(NAME, State.STOPPED)
    stopped = event_of(daemon, "ended", 1)
    assert (stopped["exit"]["signal"], stopped["checkpointStep"]) == (signal.SIGTERM, STEPS_PER_EPOCH)
    assert complete_epochs(daemon) == 1

    # Killed together with its daemon, in the middle of an epoch.
    daemon.call(m.RESUME, m.ResumeParameters(name=NAME))
    wait_for_words(daemon, 2, f"epoch 3/{EPOCHS}")
    told = daemon.wait_for_step(NAME, 2 * STEPS_PER_EPOCH + 1).runtime.progress
    assert told is not None
    assert (told.phase, told.total_steps, told.epoch) == (Phase.TRAINING, EPOCHS * STEPS_PER_EPOCH, 3)
    daemon.kill()
    kill_trainer(daemon, 2)
    daemon.start()
    daemon.wait(NAME, State.FAILED)

    # Killed while it writes a state in place.
    daemon.call(m.RESUME, m.ResumeParameters(name=NAME))
    wait_for_words(daemon, 3, f"{NAME}-000003-state")
    kill_trainer(daemon, 3)
    daemon.wait(NAME, State.FAILED)
    done = complete_epochs(daemon)

    daemon.call(m.RESUME, m.ResumeParameters(name=NAME))
    daemon.wait(NAME, State.COMPLETED)
    assert [epochs_of(daemon, attempt)[0] for attempt in (1, 2, 3)] == [1, 2, 3]
    assert epochs_of(daemon, 4) == list(range(done + 1, EPOCHS + 1))
    assert event_of(daemon, "ended", 4)["step"] == EPOCHS * STEPS_PER_EPOCH
    assert optimizer_steps(upstream, daemon.folder(NAME) / f"{NAME}-state") == EPOCHS * STEPS_PER_EPOCH


def test_a_stop_loses_unsaved_work_and_in_the_last_epoch_lets_the_training_end(
    daemon: RunningDaemon, upstream: Upstream, model: Path
) -> None:
    daemon.submit(job(model, epochs=2))
    daemon.wait_for_step(NAME, STEPS_PER_EPOCH + 1)
    daemon.call(m.STOP, m.StopParameters(name=NAME))
    daemon.wait(NAME, State.STOPPED)
    stopped = event_of(daemon, "ended", 1)
    assert stopped["checkpointStep"] == STEPS_PER_EPOCH
    assert stopped["stepsLost"] == stopped["step"] - STEPS_PER_EPOCH > 0

    daemon.call(m.RESUME, m.ResumeParameters(name=NAME))
    wait_for_words(daemon, 2, "epoch 2/2")
    daemon.call(m.STOP, m.StopParameters(name=NAME, after_checkpoint=True))
    daemon.wait(NAME, State.COMPLETED)
    assert optimizer_steps(upstream, daemon.folder(NAME) / f"{NAME}-state") == 2 * STEPS_PER_EPOCH


def test_a_flag_that_it_does_not_have_is_refused_with_the_nearest_that_it_has(
    daemon: RunningDaemon, model: Path
) -> None:
    misspelt = context(NAME, model, trainer_options={"t5xxl_max_token_lenght": ["64"]})
    with pytest.raises(InvalidSetting, match="did you mean t5xxl_max_token_length"):
        daemon.submit(misspelt)


@pytest.mark.parametrize(
    ("option", "word", "sentence"),
    [
        ("fp8_base", "true", "fp8_base is 'true', but --fp8_base is a switch"),
        ("loss_type", "l3", "must be one of l1, l2, huber, smooth_l1"),
        ("network_alpha", "high", "is 'high', but must be a number"),
    ],
)
def test_a_value_that_it_does_not_accept_is_refused_at_submit(
    daemon: RunningDaemon, model: Path, option: str, word: str, sentence: str
) -> None:
    with pytest.raises(InvalidSetting, match=sentence):
        daemon.submit(context(NAME, model, trainer_options={option: [word]}))
