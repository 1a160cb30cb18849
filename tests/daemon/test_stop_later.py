# SPDX-License-Identifier: Apache-2.0
"""A stop after the next checkpoint remains in force, whatever happens to the daemon or to the shim."""

import os
import signal
from pathlib import Path

from fluxgym.protocol import methods as m
from fluxgym.protocol.messages import State
from fluxgymd.attempts import records_on_disk
from tests.daemon.running import RunningDaemon, context
from tests.harness.waiting import until
from tests.store.files import our_state

NAME = "my-lora"
STEPS = 100
"""More steps than a trainer does after it was told to stop."""


def begin(daemon: RunningDaemon, model: Path) -> None:
    """Starts a training that saves no checkpoint in the time of a test, and asks to stop it after the next one."""
    daemon.submit(context(NAME, model, epochs=1000, save_every_epochs=1000))
    daemon.wait_for_step(NAME, 1)
    reply = daemon.call(m.STOP, m.StopParameters(name=NAME, after_checkpoint=True))
    assert reply.job.runtime.state is State.STOPPING


def save(daemon: RunningDaemon) -> None:
    our_state(daemon.folder(NAME) / f"{NAME}-step00000002-state", epoch=1, step=2)


def save_last(daemon: RunningDaemon) -> None:
    our_state(daemon.folder(NAME) / f"{NAME}-state", epoch=1, step=1)


def monitor_log(daemon: RunningDaemon) -> str:
    return (daemon.folder(NAME) / "monitor.log").read_text()


def test_a_checkpoint_written_while_the_daemon_was_away_is_the_next_one(daemon: RunningDaemon, model: Path) -> None:
    begin(daemon, model)
    daemon.kill()
    save(daemon)
    daemon.start()
    daemon.wait(NAME, State.STOPPED)
    asked = next(event for event in daemon.events(NAME) if event["event"] == "stop_asked")
    assert (asked["afterCheckpoint"], asked["newestCheckpoint"]) == (True, "")


def test_the_stop_still_waits_for_the_checkpoint_after_the_shim_is_killed(daemon: RunningDaemon, model: Path) -> None:
    begin(daemon, model)
    shim = records_on_disk.read(daemon.folder(NAME) / "attempts" / "001").shim
    assert shim is not None
    os.kill(shim.process.pid, signal.SIGKILL)
    until(lambda: daemon.job(NAME).runtime.reason, what="the daemon to see that")
    seen = daemon.job(NAME).runtime
    assert seen.state is State.STOPPING
    assert seen.progress is not None
    assert seen.progress.step is not None
    daemon.wait_for_step(NAME, seen.progress.step + STEPS)
    assert "Stop:" not in monitor_log(daemon)
    save(daemon)
    daemon.wait(NAME, State.STOPPED)
    assert "Stop: SIGTERM sent to the trainer" in monitor_log(daemon)


def test_after_its_last_state_a_trainer_is_left_to_write_its_lora(daemon: RunningDaemon, model: Path) -> None:
    begin(daemon, model)
    save_last(daemon)
    told = daemon.job(NAME).runtime.progress
    assert told is not None
    daemon.wait_for_step(NAME, (told.step or 0) + STEPS)
    assert "Stop:" not in monitor_log(daemon)
    save(daemon)
    daemon.wait(NAME, State.STOPPED)
