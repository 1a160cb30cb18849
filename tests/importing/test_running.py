# SPDX-License-Identifier: Apache-2.0
"""Tests that find the older program's processes by the folder on their command lines."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from fluxgymd.importing.running import working_on
from tests.harness.waiting import DEADLINE_SECONDS


@contextmanager
def process(*words: str, cwd: Path) -> Iterator[int]:
    """Runs a process until the block ends, and waits until its command line can be read."""
    code = "print(flush=True); input()"
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", code, *words], stdin=pipe, stdout=pipe, cwd=cwd) as started:
        assert started.stdout is not None
        started.stdout.readline()
        yield started.pid
        started.communicate(b"\n", timeout=DEADLINE_SECONDS)


@pytest.mark.parametrize(
    "words",
    [
        ["--output_dir", "{home}/outputs/x"],
        ["--seed", "1", "--output_dir={home}/outputs/x/"],
        ["--output-dir", "outputs/x", "--auto-resume"],
    ],
)
def test_a_process_that_works_on_the_folder_is_found(tmp_path: Path, words: list[str]) -> None:
    folder = tmp_path / "outputs" / "x"
    folder.mkdir(parents=True)
    assert working_on(folder) is None
    with process(*(word.format(home=tmp_path) for word in words), cwd=tmp_path) as pid:
        assert working_on(folder) == pid
    assert working_on(folder) is None


@pytest.mark.parametrize("words", [["--output_dir", "outputs/y"], ["outputs/x/train.sh"], ["--output_dir"]])
def test_a_process_that_does_not_work_on_the_folder_is_not_found(tmp_path: Path, words: list[str]) -> None:
    folder = tmp_path / "outputs" / "x"
    os.makedirs(folder)
    with process(*words, cwd=tmp_path):
        assert working_on(folder) is None
