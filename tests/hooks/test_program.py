# SPDX-License-Identifier: Apache-2.0
"""Tests of one run of a hook's program: real programs that fail, hang, flood the output and leave children behind."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from fluxgymd.hooks import program
from tests.harness.waiting import join, until

ENVIRON = {"PATH": os.environ["PATH"]}
LONG = 300.0
"""Seconds. No test waits this long."""


@pytest.fixture
def give_up() -> Iterator[int]:
    descriptor = os.eventfd(0)
    yield descriptor
    os.close(descriptor)


def sh(script: str, give_up: int, *, data: bytes = b"", seconds: float = LONG) -> str | None:
    ended = program.run(["sh", "-c", script], data=data, environ=ENVIRON, seconds=seconds, give_up=give_up)
    return ended.why_with_last_words


def runs(pid: int) -> bool:
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return False


def test_it_gets_all_of_its_input(give_up: int, tmp_path: Path) -> None:
    data = b"x" * 1_000_000  # more than a pipe holds
    assert sh(f"cat > {tmp_path}/got", give_up, data=data) is None
    assert (tmp_path / "got").read_bytes() == data


@pytest.mark.parametrize(
    ("script", "why"),
    [
        ("true", None),
        ("exit 3", "it ended with status 3"),
        ("echo no such channel >&2; exit 1", "it ended with status 1: no such channel"),
        ("printf 'first\\n\\tlast\\033[31m\\n\\n'; exit 1", "it ended with status 1: last [31m"),
        ("kill -9 $$", "it was killed by signal 9"),
    ],
)
def test_a_failure_is_a_part_of_a_sentence(script: str, why: str | None, give_up: int) -> None:
    assert sh(script, give_up) == why


def test_a_program_that_never_reads_its_input_is_not_a_failure(give_up: int) -> None:
    assert sh("exec <&-; exit 0", give_up, data=b"x" * 1_000_000) is None


def test_a_program_that_hangs_is_killed_with_its_children(give_up: int, tmp_path: Path) -> None:
    script = f"echo waiting; sleep {LONG:g} & echo $! > {tmp_path}/child; wait"
    assert sh(script, give_up, seconds=1.0) == "it did not end within 1 s and was killed: waiting"
    child = int((tmp_path / "child").read_text())
    until(lambda: not runs(child), what="its child to be gone")


def test_processes_that_it_leaves_in_its_group_end_with_it(give_up: int, tmp_path: Path) -> None:
    # The child keeps the output open, but the run does not wait for it to close.
    assert sh(f"sleep {LONG:g} & echo $! > {tmp_path}/child", give_up) is None
    child = int((tmp_path / "child").read_text())
    until(lambda: not runs(child), what="its child to be gone")


def test_the_last_output_of_a_flooding_program_is_kept(give_up: int) -> None:
    script = "head -c 50000000 /dev/zero; echo; echo the end; exit 1"
    assert sh(script, give_up) == "it ended with status 1: the end"


def test_a_program_whose_output_never_ends_is_killed_at_its_deadline(give_up: int) -> None:
    why = sh("exec cat /dev/zero", give_up, seconds=1.0)
    assert why == "it did not end within 1 s and was killed"


def test_a_missing_program_is_reported(give_up: int) -> None:
    ended = program.run(["/nonexistent/hook"], data=b"", environ=ENVIRON, seconds=LONG, give_up=give_up)
    assert (ended.why, ended.status) == ("it could not be started: No such file or directory", None)


def test_it_ends_when_the_daemon_exits(give_up: int, tmp_path: Path) -> None:
    told: list[str | None] = []
    thread = threading.Thread(target=lambda: told.append(sh(f"touch {tmp_path}/began; exec sleep {LONG:g}", give_up)))
    thread.start()
    until((tmp_path / "began").exists, what="it to begin")
    os.eventfd_write(give_up, 1)
    join(thread)
    assert told == ["the daemon was stopped before it ended"]


def test_nothing_stays_open(give_up: int) -> None:
    before = len(os.listdir("/proc/self/fd"))
    sh("true", give_up)
    program.run(["/nonexistent/hook"], data=b"", environ=ENVIRON, seconds=LONG, give_up=give_up)
    assert len(os.listdir("/proc/self/fd")) == before
