# SPDX-License-Identifier: Apache-2.0
"""A helper process ends with its daemon, however the daemon ends. The next start deletes unfinished files."""

import subprocess
import sys
import threading
from pathlib import Path

import pytest

from fluxgym.errors import DaemonUnreachable
from fluxgymd.background import tied
from tests.daemon.running import RunningDaemon, context
from tests.harness.waiting import DEADLINE_SECONDS, until


def test_the_copier_of_a_killed_daemon_is_killed_too_and_its_partial_copy_is_deleted(
    folder: Path, model: Path
) -> None:
    hangs = {"FLUXGYM_FAILPOINTS": "dataset.picture_copied=hang"}
    with RunningDaemon(folder, arguments=("--supervisor", "process"), env=hangs) as daemon:

        def submit_in_vain() -> None:
            with pytest.raises(DaemonUnreachable):
                daemon.submit(context("lora", model))

        submit = threading.Thread(target=submit_in_vain)
        submit.start()

        copies = until(lambda: daemon.helper("fluxgymd.snapshots.snapshot"), what="the program that copies")
        until(lambda: "hangs" in daemon.log.read_text(), what="it to have copied one")
        daemon.kill()
        submit.join(DEADLINE_SECONDS)
        until(lambda: not copies.is_running(), what="it to end with its daemon")
        assert any((daemon.home / "outputs").iterdir()), "a half copy, or the test proves nothing"
        daemon.start()
        until(lambda: not list((daemon.home / "outputs").iterdir()), what="the half copy to be deleted")
        assert "Traceback" not in daemon.log.read_text()


def run(daemon: int, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-I", "-S", tied.__file__, str(daemon), *words]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=DEADLINE_SECONDS)


def test_a_helper_whose_daemon_ended_before_it_started_does_nothing(tmp_path: Path) -> None:
    ended = run(1 << 22, "touch", str(tmp_path / "x"))
    assert (ended.returncode, ended.stderr) == (1, "its daemon has already ended\n")
    assert not (tmp_path / "x").exists()


def test_a_program_that_cannot_be_run_says_so() -> None:
    script = f"import os, subprocess, sys; sys.exit(subprocess.call({[sys.executable, '-I', '-S', tied.__file__]!r} "
    script += "+ [str(os.getpid()), '/no/such/program']))"
    ended = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False, timeout=DEADLINE_SECONDS
    )
    assert (ended.returncode, ended.stderr) == (1, "/no/such/program cannot be run: No such file or directory\n")
