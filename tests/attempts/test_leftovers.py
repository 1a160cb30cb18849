# SPDX-License-Identifier: Apache-2.0
"""Whether any process of a job may still be running here, judged without the job's journal: real locks, real
processes, real records."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from fluxgymd.attempts import leftovers, place, processes
from tests.harness import cgroups as groups
from tests.harness.waiting import DEADLINE_SECONDS, until

HERE = place.here()
DEAD = {"pid": 1 << 22, "start": 1}
"""A process that cannot exist: the kernel's pids stay below 2**22."""


@pytest.fixture
def job(tmp_path: Path) -> Path:
    """The folder of a job with a name that no other test uses. On a booted machine, a process's folder cannot be seen
    from here, so it is recognized by its job's name alone."""
    folder = tmp_path / "leftovers"
    folder.mkdir()
    return folder


@pytest.fixture
def sleeper(job: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process of the job, in a session of its own. Its environment refers to the job's folder by another path."""
    (job.parent / "link").symlink_to(job.parent)
    variables = {"FLUXGYM_JOB": job.name, "FLUXGYM_METRICS": f"{job.parent}/link/{job.name}/metrics.jsonl"}
    with subprocess.Popen(["/bin/sleep", "1000"], env=variables, start_new_session=True) as process:
        until(lambda: processes.variable(process.pid, "FLUXGYM_JOB"), what="its exec")
        yield process
        process.kill()


def attempt(folder: Path, number: int = 1, **records: Any) -> Path:
    """Creates attempts/NNN with these records (`shim`, `started`, `exit`). A string becomes the file's text."""
    made = folder / "attempts" / f"{number:03d}"
    made.mkdir(parents=True)
    for name, record in records.items():
        (made / f"{name}.json").write_text(record if isinstance(record, str) else json.dumps(record))
    return made


def shim(**changes: Any) -> dict[str, Any]:
    return {"contract": 1, **DEAD, "bootId": HERE.boot_id, "pidNamespace": HERE.pid_namespace, **changes}


def started(**changes: Any) -> dict[str, Any]:
    return {"contract": 1, **DEAD, "startedAt": 1.0, **changes}


EXITED = {"kind": "exited", "code": 0}


def doubts(job: Path) -> list[tuple[int | None, str]]:
    return [(doubt.attempt, doubt.why) for doubt in leftovers.doubts(job, HERE)]


@pytest.mark.parametrize(
    "records",
    [
        {},  # the daemon died right after reserving
        {"shim": shim()},
        {"shim": shim(), "exit": {"kind": "never-started"}},
        {"shim": shim(), "started": started(), "exit": EXITED},
        {"shim": shim(), "started": started()},  # both the shim and the trainer were killed
        {"shim": shim(bootId="another"), "started": started()},
        {"shim": shim(bootId="another"), "started": started(), "exit": "garbage"},
        {"shim": shim(pidNamespace="pid:[1]"), "started": started(), "exit": EXITED},
    ],
)
def test_nothing_is_in_doubt_if_certainly_nothing_runs(job: Path, records: dict[str, Any]) -> None:
    attempt(job, **records)
    assert doubts(job) == []


@pytest.mark.parametrize(
    ("records", "why"),
    [
        ({"shim": "{", "started": started()}, "attempt 001 has a damaged record"),
        ({"shim": shim(), "started": "\0\0"}, "attempt 001 has a damaged record"),
        ({"shim": shim(), "started": started(), "exit": "{"}, "attempt 001 has a damaged record"),
        ({"started": started()}, "attempt 001 has lost the record of its supervising process"),
        (
            {"shim": shim(pidNamespace="pid:[1]"), "started": started()},
            "attempt 001 ran in another container of this machine, and left no exit record",
        ),
    ],
)
def test_promise_4_an_unknown_state_is_in_doubt(job: Path, records: dict[str, Any], why: str) -> None:
    attempt(job, **records)
    assert doubts(job) == [(1, why)]


def test_promise_4_a_held_lock_proves_that_it_runs_whatever_the_records_say(job: Path) -> None:
    attempt(job, 1, shim=shim(), exit=EXITED)
    second = attempt(job, 2, shim=shim(bootId="another"), exit=EXITED)
    with (second / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert doubts(job) == [(2, "attempt 002 holds its lock")]
    assert doubts(job) == []


def test_promise_4_remaining_processes_keep_it_in_doubt(job: Path, sleeper: subprocess.Popen[bytes]) -> None:
    assert doubts(job) == [(None, "some of its processes are running")], "its attempts/ is lost"
    attempt(job, shim=shim(), started=started(), exit=EXITED)
    assert doubts(job) == [(1, "attempt 001 has left processes")]
    sleeper.kill()
    sleeper.wait(timeout=DEADLINE_SECONDS)
    assert doubts(job) == []


def test_promise_4_a_process_in_the_session_of_a_dead_shim_keeps_it_in_doubt(job: Path) -> None:
    """Nothing in the process itself shows which job it belongs to."""
    script = ["/bin/sh", "-c", "read go; sleep 1000 >/dev/null & echo $!"]
    with subprocess.Popen(
        script, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as leader:
        own = processes.stat(leader.pid)
        assert own is not None
        attempt(job, shim=shim(**msgspec.structs.asdict(own.process)), started=started())
        assert doubts(job) == [(1, "attempt 001 has left processes")]
        left = int(leader.communicate("go\n", timeout=DEADLINE_SECONDS)[0])
    assert processes.stat(leader.pid) is None
    assert doubts(job) == [(1, "attempt 001 has left processes")]
    os.kill(left, signal.SIGKILL)
    until(lambda: doubts(job) == [], what="the process to be gone")


def test_a_job_of_the_same_name_in_another_home_is_another_job(
    tmp_path: Path, job: Path, sleeper: subprocess.Popen[bytes]
) -> None:
    namesake = tmp_path / "another home" / job.name
    namesake.mkdir(parents=True)
    assert processes.variable(sleeper.pid, "FLUXGYM_JOB") == namesake.name
    assert doubts(namesake) == []


def test_promise_4_without_locks_a_living_shim_counts_as_one(job: Path, sleeper: subprocess.Popen[bytes]) -> None:
    own = processes.stat(sleeper.pid)
    assert own is not None
    attempt(job, shim=shim(**msgspec.structs.asdict(own.process), locked=False))
    assert doubts(job) == [(1, "attempt 001 holds its lock")]


def test_promise_4_attempts_that_cannot_be_read_are_in_doubt(job: Path) -> None:
    (job / "attempts").write_text("")
    assert doubts(job) == [(None, f"{job}/attempts cannot be read (Not a directory)")]
    (job / "attempts").unlink()
    (job / "attempts").mkdir()
    (job / "attempts" / "001").write_text("")
    (job / "attempts" / "notes").symlink_to("notes")  # not an attempt
    assert doubts(job) == [(1, "attempt 001 cannot be examined (Not a directory)")]


def test_promise_4_a_process_in_the_scope_of_an_attempt_keeps_it_in_doubt(job: Path) -> None:
    """It has left the session, and nothing in it shows which job it belongs to."""
    group = groups.make_group()
    scope = group / "fluxgym-my-lora-00000000.001.scope"
    scope.mkdir()
    inside = f"/{scope.relative_to(groups.cgroup2_tree())}"
    attempt(job, shim=shim(), started=started(cgroup=inside), exit=EXITED)
    with subprocess.Popen(["/bin/sleep", "1000"], start_new_session=True) as process:
        (scope / "cgroup.procs").write_text(str(process.pid))
        told = doubts(job)
        process.kill()
        process.wait(timeout=DEADLINE_SECONDS)
    assert told == [(1, "attempt 001 has left processes in its scope")]
    until(lambda: doubts(job) == [], what="the scope to be empty")
    groups.remove_group(group)
