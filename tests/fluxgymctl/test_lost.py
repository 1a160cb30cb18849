# SPDX-License-Identifier: Apache-2.0
"""A lost job, and a submit whose answer is lost: each message says what is true and what to do."""

import os
import re
import signal
from pathlib import Path

import pytest

from fluxgym.protocol.messages import State
from tests.daemon.running import RunningDaemon
from tests.fluxgymctl.conftest import running
from tests.fluxgymctl.program import ctl, started
from tests.fluxgymctl.programs import RESULT, facts, submit
from tests.harness.waiting import DEADLINE_SECONDS, until

AGAIN = "FluxGym checks every second, and continues automatically once it knows what happened to the job."
STOP = f"{AGAIN} `fluxgymctl stop a` ends the processes that provably belong to it; end any others yourself."
STOPPING = f"{AGAIN} FluxGym is ending the processes that provably belong to it; end any others yourself."


@pytest.fixture
def lost(daemon: RunningDaemon) -> int:
    """Makes the job `a` lost. Returns the pid of its program, which has removed the mark of its attempt."""
    submit(daemon, "a", script=f"if test -e ran; then {RESULT}; exit; fi; touch ran; exec env -i sleep 1000")
    daemon.wait("a", State.RUNNING)
    attempt = daemon.job("a").runtime.attempt
    assert attempt is not None
    pid = attempt.pid
    assert pid is not None
    until(lambda: Path(f"/proc/{pid}/cmdline").read_bytes() == b"sleep\x001000\x00", what="the program to run")
    spawned = next(event for event in daemon.events("a") if event["event"] == "spawned")
    os.kill(spawned["shim"]["pid"], signal.SIGKILL)
    daemon.wait("a", State.LOST)
    return pid


def said(daemon: RunningDaemon, *words: str, status: int) -> str:
    """What the program prints to stderr, without its name."""
    done = ctl(*words, socket=daemon.socket)
    assert (done.returncode, done.stdout) == (status, "")
    return done.stderr.removeprefix("fluxgymctl: ").removesuffix("\n")


def test_every_message_about_a_lost_job_says_what_to_do(daemon: RunningDaemon, lost: int) -> None:
    why = f"its supervising process is gone, but its trainer may still be running (process {lost})"
    shown = facts(daemon, "a")
    assert (shown["State"], shown["Advice"]) == ("lost", STOP)
    assert shown["Why"] == f"Lost contact with the job: {why}. Its GPU stays reserved."
    assert said(daemon, "resume", "a", status=4) == (
        f"The job a: it can't be resumed while it is lost: {why}. {STOP}"
    )
    assert said(daemon, "resume", "--assume-gone", "a", status=4) == (
        f"The job a: it ran on this machine, so --assume-gone does not apply; it is lost: {why}. {STOP}"
    )
    assert said(daemon, "rm", "a", status=4) == (f"The job a: it can't be removed while it is lost: {why}. {STOP}")
    assert said(daemon, "wait", "a", status=12) == ""
    assert ctl("watch", "a", socket=daemon.socket).stderr == f"fluxgymctl: {STOP}\n"
    health = ctl("daemon", socket=daemon.socket).stdout
    assert "Lost jobs: a; their GPUs stay reserved, and `fluxgymctl status NAME` says what to do." in health

    assert said(daemon, "stop", "a", status=0) == (
        f"a will be stopped, but it is lost. Lost contact with the job: {why}. Its GPU stays reserved. {STOPPING}"
    )
    assert facts(daemon, "a")["Advice"] == STOPPING
    assert said(daemon, "stop", "a", status=4) == (
        f"The job a: it is already being stopped, but it is lost: {why}. {STOPPING}"
    )
    os.kill(lost, signal.SIGKILL)
    assert daemon.wait("a", State.STOPPED).runtime.advice is None
    assert "Health: " in (health := ctl("daemon", socket=daemon.socket).stdout)
    assert "Lost jobs" not in health


def test_a_lost_job_continues_automatically_once_its_owner_has_ended_its_processes(
    daemon: RunningDaemon, lost: int
) -> None:
    os.kill(lost, signal.SIGKILL)
    daemon.wait("a", State.COMPLETED)


def test_followers_of_a_job_do_not_notice_that_its_shim_was_killed(daemon: RunningDaemon, tmp_path: Path) -> None:
    submit(daemon, "a", script=f"until test -e {tmp_path}/go; do sleep 0.05; done; echo the end; {RESULT}")
    daemon.wait("a", State.RUNNING)
    with (
        started("logs", "a", "-f", socket=daemon.socket) as logs,
        started("watch", "a", socket=daemon.socket) as watch,
        started("wait", "a", socket=daemon.socket) as waiting,
    ):
        spawned = next(event for event in daemon.events("a") if event["event"] == "spawned")
        os.kill(spawned["shim"]["pid"], signal.SIGKILL)
        until(lambda: daemon.job("a").runtime.reason, what="the daemon to see that")
        assert [process.poll() for process in (logs, watch, waiting)] == [None, None, None]
        (tmp_path / "go").touch()
        ends = [process.communicate(timeout=DEADLINE_SECONDS)[0] for process in (logs, watch, waiting)]
        assert [process.returncode for process in (logs, watch, waiting)] == [0, 0, 0]
    assert ends[0] == b"the end\n"
    shown = facts(daemon, "a")
    assert shown["Exit"] == "unknown"
    assert shown["Why"] == "Its result is complete. Its exit status is unknown: its supervisor was gone."


def test_a_submit_whose_daemon_dies_says_that_the_job_may_exist(spec: Path) -> None:
    with running(FLUXGYM_FAILPOINTS="submit.published=kill") as daemon:
        done = ctl("submit", "a", "--file", str(spec), socket=daemon.socket)
        assert (done.returncode, done.stdout) == (6, "")
        assert re.fullmatch(
            r"fluxgymctl: Lost the connection to the daemon at .*: .*\. a may or may not have been queued; once "
            r"fluxgymd answers again, check with `fluxgymctl status a`\.\n",
            done.stderr,
        )
        assert daemon.process is not None
        daemon.process.wait(DEADLINE_SECONDS)
        daemon.process = None
        daemon.environment.pop("FLUXGYM_FAILPOINTS")
        daemon.start()
        assert ctl("status", "a", socket=daemon.socket).returncode == 0
