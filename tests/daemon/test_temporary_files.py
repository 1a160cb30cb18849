# SPDX-License-Identifier: Apache-2.0
"""An attempt's temporary files exist while any of its processes runs, and are then deleted, whatever was killed."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from fluxgym.protocol import methods as m
from fluxgym.protocol.messages import Context, Kind, State
from tests.daemon.running import DONE, TRAINER_PYTHON, RunningDaemon, context, program, write_script
from tests.harness.waiting import until

FILLS = 'mkdir -p "$TMPDIR/pymp-x"; mktemp >where; touch full; '
WAITS = "while ! test -e go; do sleep 0.02; done; "


@pytest.fixture
def temporary(folder: Path) -> Path:
    """The daemon's TMPDIR."""
    (path := folder / "tmp").mkdir()
    return path


@pytest.fixture
def daemon(folder: Path, temporary: Path) -> Iterator[RunningDaemon]:
    # A Python for the trainer that saves its environment in the job's folder, but only in an attempt.
    python = f'[ -z "$FLUXGYM_ATTEMPT_ID" ] || env >environment; exec {TRAINER_PYTHON} "$@"'
    env = {
        "TMPDIR": str(temporary),
        "FLUXGYM_TRAINER_COMPILE_CACHE_GIB": "0.001",
        "FLUXGYM_TRAINER_PYTHON": str(write_script(folder / "python", python)),
    }
    with RunningDaemon(folder, arguments=("--supervisor", "process"), env=env) as running:
        yield running


def started(daemon: RunningDaemon, name: str, script: str) -> Path:
    """Starts a program; returns the folder of its temporary files once it has files in it."""
    daemon.submit(program(name, FILLS + script))
    until((daemon.folder(name) / "full").exists, what="the program to run")
    return Path((daemon.folder(name) / "where").read_text()).parent


def environment(daemon: RunningDaemon, name: str) -> dict[str, str]:
    """The environment of the job's trainer."""
    lines = (daemon.folder(name) / "environment").read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if "=" in line)


def pids(daemon: RunningDaemon, name: str) -> tuple[int, int]:
    """The pids of the shim and of the program."""
    folder = daemon.folder(name) / "attempts" / "001"
    shim, program = (json.loads((folder / f"{which}.json").read_text())["pid"] for which in ("shim", "started"))
    return shim, program


def test_temporary_files_are_in_a_private_folder_that_is_removed_with_the_attempt(
    daemon: RunningDaemon, temporary: Path
) -> None:
    path = started(daemon, "program", WAITS + DONE)
    assert path.parent == temporary
    assert path.stat().st_mode & 0o777 == 0o700
    (daemon.folder("program") / "go").touch()
    daemon.wait("program", State.COMPLETED)
    assert list(temporary.iterdir()) == []


def test_a_killed_program_leaves_nothing(daemon: RunningDaemon, temporary: Path) -> None:
    started(daemon, "program", WAITS + DONE)
    os.kill(pids(daemon, "program")[1], signal.SIGKILL)
    daemon.wait("program", State.FAILED)
    assert list(temporary.iterdir()) == []


def test_if_everything_was_killed_they_are_removed_when_the_daemon_next_starts(
    daemon: RunningDaemon, temporary: Path
) -> None:
    path = started(daemon, "program", WAITS + DONE)
    daemon.kill()
    shim, program = pids(daemon, "program")
    for pid in (shim, program):
        os.kill(pid, signal.SIGKILL)
    until(lambda: not psutil.pid_exists(program), what="the program to be gone")
    assert path.exists()
    daemon.start()
    until(lambda: not path.exists(), what="the files to be gone")
    daemon.call(m.STOP, m.StopParameters(name="program"))
    daemon.wait("program", State.STOPPED)
    assert list(temporary.iterdir()) == []


def test_they_stay_while_any_process_of_the_attempt_runs(daemon: RunningDaemon, temporary: Path) -> None:
    """The shim is killed, and the program keeps running."""
    path = started(daemon, "program", WAITS + DONE)
    shim, _ = pids(daemon, "program")
    os.kill(shim, signal.SIGKILL)
    until(lambda: daemon.job("program").runtime.reason, what="the daemon to see that")
    assert (path / "pymp-x").exists()
    (daemon.folder("program") / "go").touch()
    until(lambda: not path.exists(), what="the files to be gone")
    daemon.wait("program", State.COMPLETED)
    assert list(temporary.iterdir()) == []


def test_a_program_that_cannot_be_started_leaves_nothing(daemon: RunningDaemon, temporary: Path) -> None:
    (program := daemon.home / "program").write_text("#!/no/such/interpreter\n")
    program.chmod(0o700)
    daemon.submit(Context(name="program", kind=Kind.PROGRAM, program=[str(program)]))
    daemon.wait("program", State.FAILED)
    assert list(temporary.iterdir()) == []


def test_a_training_leaves_nothing_and_its_compiled_code_is_kept_below_the_home(
    daemon: RunningDaemon, temporary: Path, model: Path
) -> None:
    old = daemon.home / "cache" / "torchinductor" / "old.so"
    old.parent.mkdir(parents=True)
    old.write_bytes(b"x" * 2**21)  # above the limit
    daemon.submit(context("lora", model, epochs=1))
    daemon.wait("lora", State.COMPLETED)
    environ = environment(daemon, "lora")
    assert environ["TORCHINDUCTOR_CACHE_DIR"] == str(old.parent)
    assert environ["TRITON_CACHE_DIR"] == str(old.parent / "triton")
    assert not old.exists()
    assert list(temporary.iterdir()) == []


def test_compiled_code_is_deleted_only_while_nothing_else_runs(daemon: RunningDaemon) -> None:
    started(daemon, "first", WAITS + DONE)
    old = daemon.home / "cache" / "torchinductor" / "old.so"
    old.write_bytes(b"x" * 2**21)  # above the limit
    started(daemon, "second", DONE)
    assert old.exists()
    (daemon.folder("first") / "go").touch()
    for name in ("first", "second"):
        daemon.wait(name, State.COMPLETED)
    started(daemon, "third", DONE)
    assert not old.exists()


def test_code_is_not_loaded_from_a_folder_that_others_can_write_to(
    daemon: RunningDaemon, temporary: Path, model: Path
) -> None:
    shared = daemon.home / "cache" / "torchinductor"
    shared.mkdir(parents=True)
    shared.chmod(0o777)
    (theirs := shared / "theirs.so").write_bytes(b"x" * 2**21)
    daemon.submit(context("lora", model, epochs=1))
    daemon.wait("lora", State.COMPLETED)
    environ = environment(daemon, "lora")
    assert Path(environ["TMPDIR"]).parent == temporary
    assert environ["TORCHINDUCTOR_CACHE_DIR"].startswith(f"{environ['TMPDIR']}/")
    assert "Compiled code is kept for this attempt only" in (daemon.folder("lora") / "monitor.log").read_text()
    assert list(shared.iterdir()) == [theirs]
