# SPDX-License-Identifier: Apache-2.0
"""Following jobs while they train: live lines, stop and resume, and streams that outlive the daemon."""

import json
import re
import signal
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from fluxgym.errors import DaemonUnreachable
from fluxgym.protocol.messages import State
from fluxgym.protocol.methods import WatchReply
from fluxgymctl import follow
from fluxgymctl.main import main
from fluxgymctl.session import Session
from fluxgymctl.verbs.wait import wait
from tests.daemon.running import FINAL, RunningDaemon
from tests.fluxgymctl.program import ctl, on_terminal, rows, started
from tests.fluxgymctl.programs import facts
from tests.harness.log_lines import last_states
from tests.harness.waiting import DEADLINE_SECONDS


def submit(daemon: RunningDaemon, spec: Path, name: str, *words: str) -> None:
    done = ctl("submit", name, "--file", str(spec), *words, socket=daemon.socket)
    assert (done.returncode, done.stdout) == (0, f"{name}\n"), done.stderr


def test_promise_1_streams_continue_where_they_were_after_a_crash_of_the_daemon(
    daemon: RunningDaemon, spec: Path
) -> None:
    submit(daemon, spec, "a", "--epochs", "8")
    with (
        started("logs", "a", "-f", socket=daemon.socket) as logs,
        started("watch", "a", socket=daemon.socket) as watch,
        started("wait", "a", socket=daemon.socket) as waiting,
    ):
        daemon.wait_for_step("a", 1)
        daemon.kill()
        daemon.start()
        assert daemon.job("a").runtime.state not in FINAL, (
            "the training was over before the daemon was back: the test shows nothing"
        )
        results = {
            name: (*process.communicate(timeout=DEADLINE_SECONDS), process.returncode)
            for name, process in (("logs", logs), ("watch", watch), ("wait", waiting))
        }
    log = (daemon.home / "outputs/a/training.log").read_bytes()
    waits = f"waiting up to {follow.GIVE_UP_SECONDS:g} s for it to return"
    away = f"fluxgymctl: Lost the connection to the daemon; {waits}.\n"
    shown, said, status = results["logs"]
    assert (last_states(shown.decode()), said, status) == (last_states(log.decode()), away.encode(), 0)
    assert results["wait"] == (b"", away.encode(), 0)
    shown, said, status = results["watch"]
    assert (said.decode(), status) == (away, 0)
    assert shown.decode().splitlines()[-1] == f"a completed: {daemon.home}/outputs/a/a.safetensors"
    assert len(log.split(b"steps:")) > 2


def columns_of(replies: Iterable[dict[str, Any]]) -> list[tuple[int, float]]:
    """The steps that were measured, with their times."""
    found = [reply["metrics"] for reply in replies]
    return [pair for columns in found for pair in zip(columns["step"], columns["time"], strict=True)]


def test_streams_continue_after_an_orderly_restart_of_the_daemon(daemon: RunningDaemon, spec: Path) -> None:
    submit(daemon, spec, "a", "--epochs", "8")
    with (
        started("logs", "a", "-f", socket=daemon.socket) as logs,
        started("wait", "a", socket=daemon.socket) as waiting,
        started("metrics", "a", "-f", "--all", "--json", socket=daemon.socket) as measured,
    ):
        daemon.wait_for_step("a", 1)
        daemon.stop()
        daemon.start()
        assert daemon.job("a").runtime.state not in FINAL, (
            "the training was over before the daemon was back: the test shows nothing"
        )
        shown = logs.communicate(timeout=DEADLINE_SECONDS)[0].decode()
        log = (daemon.home / "outputs/a/training.log").read_bytes().decode()
        assert last_states(shown) == last_states(log)
        waiting.communicate(timeout=DEADLINE_SECONDS)
        replies = measured.communicate(timeout=DEADLINE_SECONDS)[0].splitlines()
        assert (logs.returncode, waiting.returncode, measured.returncode) == (0, 0, 0)
    at_once = rows(ctl("metrics", "a", "--all", "--json", socket=daemon.socket))
    assert columns_of(map(json.loads, replies)) == columns_of(at_once)


def test_watch_is_one_live_line_on_a_terminal_and_landmarks_elsewhere(
    shared_daemon: RunningDaemon, spec: Path
) -> None:
    submit(shared_daemon, spec, "live", "--epochs", "12")  # long enough to be seen training, with one look per second
    with started("watch", "live", socket=shared_daemon.socket) as elsewhere:
        status, seen = on_terminal(["watch", "live"], socket=shared_daemon.socket, columns=50)
        lines, said = elsewhere.communicate(timeout=DEADLINE_SECONDS)
    result = f"{shared_daemon.home}/outputs/live/live.safetensors"

    assert status == 0
    assert seen.endswith(f"\rlive completed: {result}\r\n")
    assert "\x1b" not in seen
    *frames, _ = seen.removesuffix("\r\n").split("\r")
    assert "\n" not in seen.removesuffix("\r\n")
    assert max(len(frame) for frame in frames) < 50
    assert any(re.fullmatch(r"live  training  (?:healthy  )?step \d+/144 \d+%  .*", frame) for frame in frames)
    assert any(frame.rstrip() in ("live  starting", "live  loading") for frame in frames), frames

    assert (elsewhere.returncode, said) == (0, b"")
    assert b"\r" not in lines
    *landmarks, end = lines.decode().splitlines()
    assert end == f"live completed: {result}"
    assert all(line.startswith("live  ") for line in landmarks)
    assert any(
        re.fullmatch(r"live  training  (?:healthy  )?step \d+/144 \d+%  epoch \d+/12  loss \d\.\d{4}.*", line)
        for line in landmarks
    )


def test_watch_without_a_name_shows_all_jobs_and_removals(daemon: RunningDaemon, spec: Path) -> None:
    submit(daemon, spec, "a", "--epochs", "500")
    with started("watch", socket=daemon.socket) as watch:
        assert watch.stdout is not None
        assert watch.stdout.readline().startswith(b"a  ")
        submit(daemon, spec, "b")
        for name in ("b", "a"):
            assert ctl("stop", name, socket=daemon.socket).returncode == 0
        assert ctl("wait", "a", "b", socket=daemon.socket).returncode == 11
        assert ctl("rm", "b", socket=daemon.socket).returncode == 0
        seen: list[bytes] = []
        while not seen or seen[-1] != b"b removed\n":
            seen.append(watch.stdout.readline())
            assert seen[-1], "the stream ended"
    assert any(line.startswith(b"b stopped") for line in seen)


def test_a_job_is_stopped_and_resumed(daemon: RunningDaemon, spec: Path) -> None:
    submit(daemon, spec, "a", "--epochs", "8")
    submit(daemon, spec, "b")
    daemon.wait_for_step("a", 1)

    live = ctl("rm", "a", socket=daemon.socket)
    assert (live.returncode, live.stdout) == (4, "")
    queued = ctl("stop", "b", socket=daemon.socket)
    assert (queued.returncode, queued.stderr) == (0, "fluxgymctl: b is stopped.\n")
    asked = ctl("stop", "a", "--json", socket=daemon.socket)
    assert rows(asked)[0]["runtime"]["state"] == "stopping"
    assert ctl("wait", "b", "a", socket=daemon.socket).returncode == 11

    told = daemon.job("a").runtime.progress
    assert told is not None
    assert told.step is not None
    assert 0 < told.step < 96
    assert ctl("resume", "a", socket=daemon.socket).returncode == 0
    assert ctl("wait", "a", socket=daemon.socket).returncode == 0
    job = daemon.job("a")
    assert job.runtime.attempt is not None
    assert (job.runtime.attempt.number, job.runtime.steps_lost) == (2, 0)
    assert job.runtime.attempt.resumed_from == f"{daemon.home}/outputs/a/a-step{told.step:08d}-state"


def test_a_stop_can_wait_for_the_next_checkpoint(shared_daemon: RunningDaemon, spec: Path) -> None:
    submit(shared_daemon, spec, "patient", "--epochs", "500")
    shared_daemon.wait_for_step("patient", 1)
    stopped = ctl("stop", "patient", "--after-checkpoint", socket=shared_daemon.socket)
    assert stopped.stderr == "fluxgymctl: patient is stopping: it waits for its next checkpoint.\n"
    assert ctl("wait", "patient", socket=shared_daemon.socket).returncode == 11
    (asked,) = [event for event in shared_daemon.events("patient") if event["event"] == "stop_asked"]
    assert asked["afterCheckpoint"] is True
    # Compared by name: a checkpoint that was written while the stop was being recorded already counts as the next
    # one.
    found = rows(ctl("checkpoints", "patient", "--json", socket=shared_daemon.socket))
    newest = asked.get("newestCheckpoint") or ""
    assert [row for row in found if row["name"].startswith("patient-0") and row["name"] > newest], (found, asked)


def test_a_job_that_is_removed_while_another_is_waited_for_is_reported_as_removed(
    shared_daemon: RunningDaemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`wait a b` has asked about both and waits for a. When b's turn comes, b no longer exists."""
    monkeypatch.setenv("FLUXGYM_SOCKET", str(shared_daemon.socket))
    assert wait(Session(), "gone") == 14


def test_a_job_that_fails_reports_its_status_and_its_reason(shared_daemon: RunningDaemon, spec: Path) -> None:
    # The available kernels are known only on the GPU, where the training starts.
    words = ["submit", "wrong", "--file", str(spec), "-o", "attention=efficient", "--follow"]
    done = ctl(*words, socket=shared_daemon.socket)
    assert done.returncode == 10
    assert done.stdout.splitlines()[0] == "wrong"
    assert done.stdout.splitlines()[-1].startswith("wrong failed: ")
    assert ctl("wait", "wrong", socket=shared_daemon.socket).returncode == 10


def test_promise_1_an_interrupt_ends_the_client_and_leaves_the_job(daemon: RunningDaemon, spec: Path) -> None:
    submit(daemon, spec, "a", "--epochs", "500")
    for words in (("watch", "a"), ("logs", "-f", "a"), ("watch",)):
        with started(*words, socket=daemon.socket) as client:
            assert client.stdout is not None
            assert client.stdout.readline()
            client.send_signal(signal.SIGINT)
            _, said = client.communicate(timeout=DEADLINE_SECONDS)
        rest = "a continues. To stop it, run `fluxgymctl stop a`." if "a" in words else "the jobs continue."
        assert (client.returncode, said.decode()) == (130, f"fluxgymctl: Exiting; {rest}\n")
    told = daemon.wait_for_step("a", 1).runtime
    assert told.state is State.RUNNING
    assert told.progress is not None
    daemon.wait_for_step("a", (told.progress.step or 0) + 1)


def test_an_interrupt_ends_wait_and_leaves_the_jobs(
    daemon: RunningDaemon, spec: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    submit(daemon, spec, "a", "--hold")
    submit(daemon, spec, "b", "--hold")
    changes = follow.changes

    def until_ctrl_c(*words: Any, **options: Any) -> Iterator[WatchReply]:
        """Raises KeyboardInterrupt after the first reply: `wait` prints nothing that would tell a test when to send
        one."""
        yield next(changes(*words, **options))
        raise KeyboardInterrupt

    monkeypatch.setattr(follow, "changes", until_ctrl_c)
    monkeypatch.setenv("FLUXGYM_SOCKET", str(daemon.socket))
    assert main(["wait", "a", "b"]) == 130
    assert capfd.readouterr().err == "fluxgymctl: Exiting; a, b continue.\n"
    assert {job.runtime.state for job in daemon.jobs()} == {State.QUEUED}


def test_the_status_of_a_job_that_does_not_run_shows_how_far_it_came_but_no_speed(
    daemon: RunningDaemon, spec: Path
) -> None:
    submit(daemon, spec, "a", "--epochs", "500")
    daemon.wait_for_step("a", 2)
    live = facts(daemon, "a")
    assert live["Step"].endswith("%")
    assert {"Phase", "Speed", "Time left", "Last report", "Process"} <= live.keys()
    assert "Ended" not in live
    assert ctl("stop", "a", socket=daemon.socket).returncode == 0
    assert ctl("wait", "a", socket=daemon.socket).returncode == 11
    ended = facts(daemon, "a")
    assert ended["Step"].endswith("%")
    assert {"Phase", "Speed", "Time left", "Last report", "Process", "LoRA"} & ended.keys() == set()
    assert ended["Exit"] == "exit status 143"
    assert "-" not in {value for label, value in ended.items()}


def test_a_daemon_that_stays_away_ends_the_stream_with_its_error(
    daemon: RunningDaemon, spec: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(follow, "GIVE_UP_SECONDS", 0.5)
    monkeypatch.setenv("FLUXGYM_SOCKET", str(daemon.socket))
    submit(daemon, spec, "a", "--epochs", "500")
    daemon.wait_for_step("a", 1)
    said: list[str] = []
    changes = follow.changes(Session(), "a", note=said.append)
    assert next(changes).job is not None
    daemon.kill()
    with pytest.raises(DaemonUnreachable, match="Connection refused"):
        list(changes)
    assert said == ["Lost the connection to the daemon; waiting up to 0.5 s for it to return."]


def test_a_daemon_that_never_answered_is_not_waited_for(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("FLUXGYM_SOCKET", str(tmp_path / "s"))
    with pytest.raises(DaemonUnreachable):
        next(follow.changes(Session(), "a", note=pytest.fail))
