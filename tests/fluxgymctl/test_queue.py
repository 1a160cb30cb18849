# SPDX-License-Identifier: Apache-2.0
"""The verbs of the queue against a real daemon, with jobs that take milliseconds."""

import os
import re
import shlex
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from fluxgym.protocol.messages import Job, State, WaitingFor
from tests.daemon.running import RunningDaemon
from tests.fluxgymctl.conftest import running
from tests.fluxgymctl.program import ctl, rows
from tests.fluxgymctl.programs import facts, submit, until_there
from tests.harness.waiting import until


def waits(daemon: RunningDaemon, name: str, reason: WaitingFor) -> Job:
    """Returns the job once the scheduler has looked at it and found this reason."""

    def look() -> Job | None:
        job = daemon.job(name)
        return job if job.runtime.waiting_for is reason else None

    return until(look, what=f"{name} to wait for {reason}")


def said(daemon: RunningDaemon, *words: str, status: int = 0) -> str:
    """What a verb that prints no data writes to stderr."""
    done = ctl(*words, socket=daemon.socket)
    assert (done.returncode, done.stdout) == (status, ""), done.stderr
    return done.stderr


def started(daemon: RunningDaemon, *names: str) -> list[str]:
    """The names in the order in which the jobs were first started."""
    first = {
        name: next(event["at"] for event in daemon.events(name) if event["event"] == "reserved") for name in names
    }
    return sorted(first, key=lambda name: first[name])


@pytest.fixture
def paused(daemon: RunningDaemon) -> RunningDaemon:
    """A daemon with a paused queue, in which nothing starts."""
    said(daemon, "pause")
    return daemon


def test_a_program_is_submitted_as_it_would_be_typed(daemon: RunningDaemon, tmp_path: Path) -> None:
    tool = tmp_path / "tool.sh"
    tool.write_text("#!/bin/sh\nprintf '%s\\n' \"$@\"\nprintf '{\"files\": []}' >result.json\n", encoding="utf-8")
    tool.chmod(0o755)
    words = ["submit", "a", "--priority", "-3", "--", "./tool.sh", "--file", "two words", "--", "-f"]
    assert ctl(*words, socket=daemon.socket, cwd=tmp_path).stdout == "a\n"
    assert ctl("wait", "a", socket=daemon.socket).returncode == 0
    assert ctl("logs", "a", socket=daemon.socket).stdout == "--file\ntwo words\n--\n-f\n"
    shown = facts(daemon, "a")
    assert shlex.split(shown["Program"]) == [str(tool), "--file", "two words", "--", "-f"]
    assert (shown["Priority"], shown["Result"]) == ("-3", f"{daemon.home}/outputs/a/result.json")
    assert "LoRA" not in shown


def test_a_program_in_a_spec_file_needs_no_kind(daemon: RunningDaemon, tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_text('name = "a"\nprogram = ["true"]\nheld = true\n', encoding="utf-8")
    assert ctl("submit", "--file", str(tmp_path / "a.toml"), socket=daemon.socket).stdout == "a\n"
    waits(daemon, "a", WaitingFor.HELD)


def test_a_paused_queue_starts_nothing_until_it_is_continued(daemon: RunningDaemon) -> None:
    assert "Queue:      open" in ctl("daemon", socket=daemon.socket).stdout
    assert "no more jobs are started" in said(daemon, "pause")
    assert "Queue:      paused" in ctl("daemon", socket=daemon.socket).stdout
    submit(daemon, "a")
    waits(daemon, "a", WaitingFor.PAUSED)
    assert "the queue is paused" in facts(daemon, "a")["Why"]
    assert "is open again" in said(daemon, "continue")
    assert ctl("wait", "a", socket=daemon.socket).returncode == 0


def test_promise_8_a_damaged_record_of_a_pause_is_reported_and_nothing_starts_until_a_user_says_so(
    daemon: RunningDaemon,
) -> None:
    said(daemon, "pause")
    daemon.stop()
    (record,) = (daemon.log.parent / "state" / "fluxgym" / "machine").glob("*.json")
    record.write_bytes(b"{torn")
    daemon.start()
    submit(daemon, "a")
    waits(daemon, "a", WaitingFor.PAUSED)
    shown = ctl("daemon", socket=daemon.socket).stdout
    assert "Queue:      paused" in shown
    assert f"cannot be read from {record} (it is damaged)" in shown
    said(daemon, "continue")
    assert ctl("wait", "a", socket=daemon.socket).returncode == 0
    assert "Health:     good" in ctl("daemon", socket=daemon.socket).stdout
    assert record.with_name(f"{record.name}.damaged-1").read_bytes() == b"{torn"


def test_a_held_job_waits_until_it_is_released(daemon: RunningDaemon) -> None:
    submit(daemon, "a", "--hold")
    waits(daemon, "a", WaitingFor.HELD)
    assert facts(daemon, "a")["Why"] == "is held until `fluxgymctl release a`"
    assert "already on hold" in said(daemon, "hold", "a", status=4)
    assert said(daemon, "release", "a") == "fluxgymctl: a is released and waits for its turn.\n"
    assert ctl("wait", "a", socket=daemon.socket).returncode == 0
    assert "not waiting in the queue" in said(daemon, "hold", "a", status=4)


def test_a_job_that_waits_can_be_held(paused: RunningDaemon) -> None:
    submit(paused, "a")
    submit(paused, "b")
    (row,) = rows(ctl("hold", "a", "--json", socket=paused.socket))
    assert row["runtime"]["state"] == "queued"
    said(paused, "continue")
    assert ctl("wait", "b", socket=paused.socket).returncode == 0
    waits(paused, "a", WaitingFor.HELD)


@pytest.fixture
def one_by_one() -> Iterator[RunningDaemon]:
    """A daemon with a paused queue that runs one program at a time: two that start at once would have no order."""
    with running(FLUXGYM_QUEUE_PROGRAM_SLOTS="1") as daemon:
        said(daemon, "pause")
        yield daemon


def test_jobs_start_by_priority_and_in_the_order_they_were_moved_into(one_by_one: RunningDaemon) -> None:
    for name, priority in (("a", "0"), ("b", "0"), ("c", "0"), ("d", "0"), ("urgent", "7")):
        submit(one_by_one, name, "--priority", priority)
    assert said(one_by_one, "move", "d", "--before", "b") == "fluxgymctl: d is now before b.\n"
    assert said(one_by_one, "move", "c") == "fluxgymctl: c is now at the front of the queue.\n"
    assert "before itself" in said(one_by_one, "move", "a", "--before", "a", status=4)
    moved = ctl("list", socket=one_by_one.socket).stdout.splitlines()
    assert [line.split()[:4] for line in moved[1:]] == [
        ["urgent", "queued", "2", "7"],
        ["d", "queued", "4", "0"],
        ["c", "queued", "1", "7"],
        ["b", "queued", "5", "0"],
        ["a", "queued", "3", "0"],
    ]
    assert facts(one_by_one, "b")["Place"] == "5"
    said(one_by_one, "continue")
    assert ctl("wait", "a", "b", "c", "d", "urgent", socket=one_by_one.socket).returncode == 0
    assert started(one_by_one, "a", "b", "c", "d", "urgent") == ["c", "urgent", "a", "d", "b"]


def test_list_shows_the_priority_of_a_waiting_job_and_why_it_waits(paused: RunningDaemon) -> None:
    submit(paused, "a", "--priority", "7")
    waits(paused, "a", WaitingFor.PAUSED)
    waiting = ctl("list", socket=paused.socket).stdout.splitlines()[1]
    assert re.fullmatch(r"a +queued +1 +7 +- +- +\d+ s +waits because the queue is paused; .*", waiting)
    said(paused, "continue")
    assert ctl("wait", "a", socket=paused.socket).returncode == 0
    assert re.match(r"a +completed +- +- +", ctl("list", socket=paused.socket).stdout.splitlines()[1])


def test_a_job_waits_for_the_jobs_that_it_comes_after(daemon: RunningDaemon, tmp_path: Path) -> None:
    submit(daemon, "a", script=until_there(tmp_path / "go"))
    submit(daemon, "b")
    submit(daemon, "c", "--after", "a", "--after", "b")
    job = waits(daemon, "c", WaitingFor.JOB)
    assert job.context.after == ["a", "b"]
    shown = facts(daemon, "c")
    assert shown["After"] == "a, b"
    assert re.match(r"waits for another job: a must be completed first", shown["Why"])
    (tmp_path / "go").touch()
    assert ctl("wait", "c", socket=daemon.socket).returncode == 0
    assert started(daemon, "c", "a", "b")[2] == "c"


def test_edit_changes_only_what_is_given(paused: RunningDaemon, tmp_path: Path) -> None:
    submit(paused, "a")
    submit(paused, "b", "--after", "a", "--restart", "never", "--priority", "2")
    assert said(paused, "edit", "b", "--after", "", "--restart", "on-failure") == (
        "fluxgymctl: The new settings of b are saved; it is queued.\n"
    )
    (tmp_path / "b.toml").write_text("priority = 9\n", encoding="utf-8")
    (row,) = rows(ctl("edit", "b", "--file", str(tmp_path / "b.toml"), "--json", socket=paused.socket))
    assert row["context"]["priority"] == 9
    shown = facts(paused, "b")
    assert (shown["Restart"], shown["Priority"], "After" in shown) == ("on failure", "9", False)
    said(paused, "edit", "b", "--", "sh", "-c", "exit 3")
    assert shlex.split(facts(paused, "b")["Program"])[1:] == ["-c", "exit 3"]


@pytest.mark.parametrize(
    ("words", "status", "says"),
    [
        (["a", "--kind", "training"], 2, "kind cannot be changed"),
        (["a", "--dataset", "x"], 2, "dataset cannot be changed"),
        (["b", "--hold"], 2, "use hold and release"),
        (["a", "--after", "a"], 2, "cannot wait for itself"),
        (["a", "--after", "nobody"], 3, "nobody"),
        (["a", "--priority", "1001"], 2, "priority is 1001, but must be from -1000 to 1000"),
        (["a", "--epochs", "3"], 2, "epochs is only for trainings"),
        (["nobody", "--epochs", "3"], 3, "nobody"),
    ],
)
def test_a_wrong_edit_changes_nothing(shared_daemon: RunningDaemon, words: list[str], status: int, says: str) -> None:
    if "a" not in {job.context.name for job in shared_daemon.jobs()}:
        submit(shared_daemon, "a", "--hold")
        submit(shared_daemon, "b", "--after", "a")
    before = shared_daemon.job("a").context
    text = said(shared_daemon, "edit", *words, status=status)
    assert says in text
    assert text.count("\n") == 1
    assert shared_daemon.job("a").context == before


def test_history_shows_what_happened_in_order(daemon: RunningDaemon) -> None:
    submit(daemon, "a", "--hold", script="echo no >&2; exit 3")
    said(daemon, "release", "a")
    assert ctl("wait", "a", socket=daemon.socket).returncode == 10
    done = ctl("history", "a", socket=daemon.socket)
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d  [A-Z].*", line) for line in lines)
    assert lines == sorted(lines, key=lambda line: line[:19])
    marks = [line for line in lines for word in ("submitted", "released", "exited with status 3") if word in line]
    assert marks == [lines[0], lines[1], lines[-1]]
    told = rows(ctl("history", "a", "--json", socket=daemon.socket))
    assert [row["text"] for row in told] == [line[21:] for line in lines]
    assert [row["at"] for row in told] == [event["at"] for event in daemon.events("a")]


def test_a_failure_is_shown_with_its_advice(daemon: RunningDaemon) -> None:
    submit(daemon, "a", script="echo 'No space left on device' >&2; exit 1")
    watched = ctl("watch", "a", socket=daemon.socket)
    assert watched.returncode == 10
    failure = daemon.job("a").runtime.failure
    assert failure is not None
    assert watched.stderr == f"fluxgymctl: {failure.advice}\n"
    shown = facts(daemon, "a")
    assert (shown["Failure"], shown["Advice"]) == ("disk full", failure.advice)
    assert shown["Log"] == f"{daemon.home}/outputs/a/training.log"


def test_a_job_that_will_be_retried_says_when(daemon: RunningDaemon) -> None:
    submit(daemon, "a", "--restart", "on-failure", script="exit 1")
    waits(daemon, "a", WaitingFor.BACK_OFF)
    shown = facts(daemon, "a")
    assert re.fullmatch(r"\d\d:\d\d:\d\d|\d{4}-.*", shown["Not before"])
    assert re.match(r"will be retried at \d\d:\d\d:\d\d: .*exited with status 1", shown["Why"])
    assert said(daemon, "stop", "a") == "fluxgymctl: a is stopped.\n"


def test_a_program_that_is_stopped_says_how(daemon: RunningDaemon) -> None:
    submit(daemon, "a", script="exec sleep 1000")
    daemon.wait("a", State.RUNNING)
    assert said(daemon, "stop", "a") == "fluxgymctl: a is stopping: its program was asked to exit.\n"
    assert ctl("wait", "a", socket=daemon.socket).returncode == 11


def test_a_job_lost_on_another_machine_continues_once_the_user_asserts_that_it_is_gone(
    daemon: RunningDaemon, tmp_path: Path
) -> None:
    submit(daemon, "a", script=until_there(tmp_path / "go"))
    daemon.wait("a", State.RUNNING)
    daemon.kill()
    events = {event["event"]: event for event in daemon.events("a")}
    for process in (events["spawned"]["shim"], events["started"]["trainer"]):
        os.kill(process["pid"], signal.SIGKILL)
    journal = daemon.folder("a") / "events.jsonl"
    text = journal.read_text(encoding="utf-8")
    elsewhere, places = re.subn(r'"machineId":"[0-9a-f]+"', f'"machineId":"{"0" * 32}"', text)
    assert places == 1
    journal.write_text(elsewhere, encoding="utf-8")
    (tmp_path / "go").touch()
    daemon.start()
    daemon.wait("a", State.LOST)

    assert "none of its processes runs there any more" in " ".join(ctl("resume", "--help").stdout.split())
    assert said(daemon, "resume", "a", status=4)
    said(daemon, "resume", "a", "--assume-gone")
    assert ctl("wait", "a", socket=daemon.socket).returncode == 0
    assert (
        "The user confirmed that attempt 1 is no longer running." in ctl("history", "a", socket=daemon.socket).stdout
    )
