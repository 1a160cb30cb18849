# SPDX-License-Identifier: Apache-2.0
"""The watchdog's mode is set while the job hangs, with the real daemon and the real trainer."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from fluxgym.errors import InvalidSetting, WrongState
from fluxgym.protocol import methods as m
from fluxgym.protocol.messages import State, Verdict, WatchdogMode
from fluxgym.protocol.steering_methods import SET_WATCHDOG, SetWatchdogParameters
from tests.daemon.hanging import SHORT, hanging
from tests.daemon.running import TRAINING_SECONDS, Asked, RunningDaemon, program
from tests.harness.waiting import until

STILL = {"training_still_seconds": SHORT}
HOUR = 3600.0


@pytest.fixture
def quick(folder: Path) -> Iterator[RunningDaemon]:
    """A daemon that gives trainers only a second to save."""
    env = {"FLUXGYM_STOP_LIMIT_SECONDS": "1"}
    with RunningDaemon(folder, arguments=("--supervisor", "process"), env=env) as running:
        yield running


def set_mode(daemon: Asked, name: str, mode: WatchdogMode, *, lasts: float | None = None) -> None:
    ends = None if lasts is None else time.time() + lasts
    daemon.call(SET_WATCHDOG, SetWatchdogParameters(name=name, mode=mode, until=ends))


def told(daemon: Asked, name: str) -> m.WatchdogReply:
    reply = daemon.call(m.WATCHDOG, m.JobName(name=name))
    assert isinstance(reply, m.WatchdogReply)
    return reply


def first_end(daemon: Asked, name: str) -> str:
    ends = until(
        lambda: [event for event in daemon.events(name) if event["event"] == "ended"],
        what="the hang to be ended",
        deadline_seconds=TRAINING_SECONDS,
    )
    return str(ends[0]["outcome"])


def test_a_watchdog_that_is_turned_on_finds_a_hang_that_is_under_way(quick: RunningDaemon, model: Path) -> None:
    quick.submit(hanging("my-lora", model, "sleep@training:20", STILL, watchdog=WatchdogMode.OFF))
    quick.wait_for_step("my-lora", 19)
    assert told(quick, "my-lora").why == "Its watchdog is off."
    set_mode(quick, "my-lora", WatchdogMode.ACT)
    assert quick.job("my-lora").context.watchdog is WatchdogMode.ACT
    assert first_end(quick, "my-lora") == "interrupted"


def test_a_watchdog_turned_off_for_a_time_stays_off_across_a_restart_and_then_acts(
    quick: RunningDaemon, model: Path
) -> None:
    quick.submit(hanging("my-lora", model, "sleep@training:20", STILL, watchdog=WatchdogMode.ACT))
    quick.wait("my-lora", State.RUNNING)
    set_mode(quick, "my-lora", WatchdogMode.OFF, lasts=HOUR)
    ends = told(quick, "my-lora").until
    quick.kill()
    quick.start()
    reply = told(quick, "my-lora")
    assert (reply.mode, reply.verdict, reply.why) == (
        WatchdogMode.OFF,
        Verdict.NOT_WATCHED,
        "Its watchdog is off.",
    )
    assert ends is not None
    assert (reply.until, reply.then) == (ends, WatchdogMode.ACT)
    assert quick.job("my-lora").runtime.watchdog is None

    set_mode(quick, "my-lora", WatchdogMode.OFF, lasts=2.0)
    until(lambda: told(quick, "my-lora").mode is WatchdogMode.ACT, what="the time to be over")
    assert first_end(quick, "my-lora") == "interrupted"


def test_the_mode_of_a_waiting_job_can_be_set_and_for_an_ended_one_the_error_names_the_right_verb(
    daemon: RunningDaemon,
) -> None:
    daemon.submit(program("waits", held=True))
    set_mode(daemon, "waits", WatchdogMode.WARN)
    assert told(daemon, "waits").mode is WatchdogMode.WARN
    daemon.call(m.STOP, m.StopParameters(name="waits"))
    with pytest.raises(WrongState, match=r"it is stopped; `fluxgymctl edit waits --watchdog act` sets it"):
        set_mode(daemon, "waits", WatchdogMode.ACT)
    daemon.submit(program("done"))
    daemon.wait("done", State.COMPLETED)
    with pytest.raises(WrongState, match="it is completed"):
        set_mode(daemon, "done", WatchdogMode.ACT)


def test_a_time_that_is_over_and_an_unknown_mode_are_refused(daemon: RunningDaemon) -> None:
    daemon.submit(program("waits", held=True))
    with pytest.raises(InvalidSetting, match="until must be a time in the future"):
        set_mode(daemon, "waits", WatchdogMode.OFF, lasts=-1.0)
    with pytest.raises(InvalidSetting, match="mode must be off, warn or act"):
        set_mode(daemon, "waits", WatchdogMode.UNKNOWN)
    assert told(daemon, "waits").until is None
