# SPDX-License-Identifier: Apache-2.0
"""Whether anything of a job may run here, without its journal: real locks, real processes, real records."""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from fluxgymd.attempts import place, processes, remains
from tests.harness.waiting import until

HERE = place.here()
DEAD = {"pid": 1 << 22, "start": 1}
"""A process that is not there: pids are smaller."""


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    """A process of the job `my-lora`, in a session of its own."""
    with subprocess.Popen(["/bin/sleep", "1000"], env={"FLUXGYM_JOB": "my-lora"}, start_new_session=True) as process:
        until(lambda: processes.has_variable(process.pid, "FLUXGYM_JOB", "my-lora"), what="its exec")
        yield process
        process.kill()


def attempt(folder: Path, number: int = 1, **records: Any) -> Path:
    """attempts/NNN with these records (`shim`, `started`, `exit`); text is written as it is."""
    made = folder / f"{number:03d}"
    made.mkdir(parents=True)
    for name, record in records.items():
        (made / f"{name}.json").write_text(record if isinstance(record, str) else json.dumps(record))
    return made


def shim(**changes: Any) -> dict[str, Any]:
    return {"contract": 1, **DEAD, "bootId": HERE.boot_id, "pidNamespace": HERE.pid_namespace, **changes}


def started(**changes: Any) -> dict[str, Any]:
    return {"contract": 1, **DEAD, "startedAt": 1.0, **changes}


EXITED = {"kind": "exited", "code": 0}


def doubts(folder: Path, job: str = "nobody") -> list[tuple[int | None, str]]:
    return [(doubt.attempt, doubt.why) for doubt in remains.doubts(job, folder, HERE)]


@pytest.mark.parametrize(
    "records",
    [
        {},  # the daemon died behind the reservation
        {"shim": shim()},
        {"shim": shim(), "exit": {"kind": "never-started"}},
        {"shim": shim(), "started": started(), "exit": EXITED},
        {"shim": shim(), "started": started()},  # both were killed
        {"shim": shim(bootId="another"), "started": started()},
        {"shim": shim(bootId="another"), "started": started(), "exit": "garbage"},
        {"shim": shim(pidNamespace="pid:[1]"), "started": started(), "exit": EXITED},
    ],
)
def test_where_surely_nothing_runs_nothing_is_in_doubt(tmp_path: Path, records: dict[str, Any]) -> None:
    attempt(tmp_path, **records)
    assert doubts(tmp_path) == []


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
def test_promise_4_what_cannot_be_told_is_in_doubt(tmp_path: Path, records: dict[str, Any], why: str) -> None:
    attempt(tmp_path, **records)
    assert doubts(tmp_path) == [(1, why)]


def test_promise_4_a_held_lock_says_that_it_runs_whatever_the_records_say(tmp_path: Path) -> None:
    attempt(tmp_path, 1, shim=shim(), exit=EXITED)
    second = attempt(tmp_path, 2, shim=shim(bootId="another"), exit=EXITED)
    with (second / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert doubts(tmp_path) == [(2, "attempt 002 holds its lock")]
    assert doubts(tmp_path) == []


def test_promise_4_processes_that_are_left_keep_it_in_doubt(tmp_path: Path, sleeper: subprocess.Popen[bytes]) -> None:
    attempt(tmp_path, shim=shim(), started=started(), exit=EXITED)
    assert doubts(tmp_path, "my-lora") == [(1, "attempt 001 has left processes")]
    assert doubts(tmp_path / "no attempts", "my-lora") == [(None, "processes of it run")]
    assert doubts(tmp_path, "another-lora") == []
    own = processes.stat(sleeper.pid)
    assert own is not None
    known = msgspec.structs.asdict(own.process)
    (tmp_path / "001" / "shim.json").write_text(json.dumps(shim(**known)))  # it does not show the job's name
    assert doubts(tmp_path, "another-lora") == [(1, "attempt 001 has left processes")]
    sleeper.kill()
    sleeper.wait()
    assert doubts(tmp_path, "my-lora") == []


def test_promise_4_where_no_locks_are_a_living_shim_counts_as_one(
    tmp_path: Path, sleeper: subprocess.Popen[bytes]
) -> None:
    own = processes.stat(sleeper.pid)
    assert own is not None
    attempt(tmp_path, shim=shim(**msgspec.structs.asdict(own.process), locked=False))
    assert doubts(tmp_path) == [(1, "attempt 001 holds its lock")]


def test_promise_4_attempts_that_cannot_be_read_are_in_doubt(tmp_path: Path) -> None:
    (tmp_path / "attempts").write_text("")
    assert doubts(tmp_path / "attempts") == [(None, f"{tmp_path}/attempts cannot be read (Not a directory)")]
    (tmp_path / "others").mkdir()
    (tmp_path / "others" / "001").write_text("")
    os.symlink("loop", tmp_path / "others" / "notes")  # no attempt of ours
    assert doubts(tmp_path / "others") == [(1, "attempt 001 cannot be looked at (Not a directory)")]
