# SPDX-License-Identifier: Apache-2.0
"""Tests of what `./dev` does before any of its commands, and of how `.ci/run` runs `./dev test`."""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import subprocess
from pathlib import Path

import pytest

from tests.harness.signals import SHOW_IGNORED, ignoring, numbers
from tests.harness.waiting import DEADLINE_SECONDS


def test_its_processes_can_be_interrupted_even_if_it_was_started_with_signals_ignored(
    checkout: Path, tmp_path: Path
) -> None:
    # `./dev --help` starts cat; this cat prints the signals that it inherits as ignored.
    cat = tmp_path / "cat"
    cat.write_text(f"#!/bin/sh\nexec {shlex.join(SHOW_IGNORED)}\n")
    cat.chmod(0o755)
    shown = subprocess.run(
        ignoring("HUP INT QUIT PIPE", [checkout / "dev", "--help"]),
        env={**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=True,
        timeout=DEADLINE_SECONDS,
    ).stdout
    found = numbers(shown, "SigIgn")
    assert not found & {signal.SIGINT, signal.SIGQUIT, signal.SIGPIPE}
    assert signal.SIGHUP in found, "nohup would not work"


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("test tests/test_dev.py", "put -- before the arguments for pytest."),
        ("test --changed main work", "--changed takes one commit at most, but got: main work"),
        ("lint --fix", "lint takes no arguments, but got: --fix"),
        ("tset", "there is no command tset."),
    ],
)
def test_wrong_arguments_are_refused_before_anything_is_created(checkout: Path, words: str, told: str) -> None:
    refused = subprocess.run(
        [checkout / "dev", *words.split()], capture_output=True, text=True, timeout=DEADLINE_SECONDS
    )
    assert refused.returncode != 0
    assert refused.stderr.startswith(f"dev: {told}\n")


def test_ci_runs_the_test_command_with_an_empty_home_without_caches_and_environments(
    checkout: Path, tmp_path: Path
) -> None:
    (tmp_path / ".ci").mkdir()
    shutil.copy(checkout / ".ci/run", tmp_path / ".ci/run")
    dev = tmp_path / "dev"
    dev.write_text(
        '#!/bin/sh\necho "$* $CI $HOME ${PIP_CACHE_DIR-none} ${XDG_CACHE_HOME-none}"\nls -A . "$HOME"; exit 7\n'
    )
    dev.chmod(0o755)
    for environment in (".venv", ".venv-trainer"):
        (tmp_path / environment).mkdir()
    ran = subprocess.run(
        [tmp_path / ".ci/run"],
        env={**os.environ, "PIP_CACHE_DIR": "/warm", "XDG_CACHE_HOME": "/warm"},
        capture_output=True,
        text=True,
        timeout=DEADLINE_SECONDS,
    )
    words, *files = ran.stdout.splitlines()
    command, ci, home, *caches = words.split()
    assert (ran.returncode, command, ci, caches) == (7, "test", "true", ["none", "none"])
    assert files == [".:", ".ci", "dev", "", f"{home}:"]
    assert not Path(home).exists()
