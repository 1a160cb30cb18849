# SPDX-License-Identifier: Apache-2.0
"""States are never incomplete: a process is killed before each system call in turn, and the result is read."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from library import atomic
from tests.harness.waiting import DEADLINE_SECONDS
from tests.sd_scripts.running import ROOT

# Kills itself before the n-th call that changes the disk; exits with 0 if there are fewer.
WRITER = """
import os, sys
sys.path.insert(0, sys.argv[1])
from library import atomic
left = int(sys.argv[3])
def counted(call):
    def wrapper(*args, **kwargs):
        global left
        left -= 1
        if left == 0:
            os.kill(os.getpid(), 9)
        return call(*args, **kwargs)
    return wrapper
for name in ("mkdir", "rename", "replace", "fsync", "unlink", "rmdir", "open"):
    setattr(os, name, counted(getattr(os, name)))
from pathlib import Path
def fill(folder):
    for name in ("a", "b"):
        (folder / name).write_text("new")
if sys.argv[4] == "write":
    atomic.write_directory(Path(sys.argv[2]), fill)
else:
    atomic.remove_directory(Path(sys.argv[2]))
"""


def write(path: Path, content: str) -> None:
    def fill(folder: Path) -> None:
        for name in ("a", "b"):
            (folder / name).write_text(content)

    atomic.write_directory(path, fill)


def content(path: Path) -> set[str]:
    found = atomic.existing_directory(path)
    assert found is not None
    assert {file.name for file in found.iterdir()} == {"a", "b"}
    return {file.read_text() for file in found.iterdir()}


def run_until(call: int, verb: str, path: Path) -> int:
    """Runs the program, which kills itself before its n-th call. Returns its exit status: 0 if it reached its end."""
    arguments = [sys.executable, "-c", WRITER, str(ROOT / "sd-scripts"), str(path), str(call), verb]
    return subprocess.run(arguments, check=False, timeout=DEADLINE_SECONDS).returncode


def test_a_kill_before_any_call_leaves_a_complete_state(tmp_path: Path) -> None:
    seen = set()
    for call in range(1, 100):
        path = tmp_path / str(call) / "X-state"
        path.parent.mkdir()
        write(path, "old")
        status = run_until(call, "write", path)
        (found,) = content(path)
        seen.add(found)
        # What was left does not disturb the next writer.
        write(path, "next")
        assert content(path) == {"next"}
        assert [entry.name for entry in path.parent.iterdir()] == ["X-state"]
        if status == 0:
            assert found == "new"
            assert call > 10
            assert seen == {"old", "new"}
            return
    pytest.fail("the writer never came to its end")


@pytest.mark.parametrize("cut_short", [False, True])
def test_a_kill_while_a_state_is_removed_leaves_it_complete_or_gone(cut_short: bool, tmp_path: Path) -> None:
    """`cut_short`: only `X-state.old` exists."""
    seen = set()
    for call in range(1, 100):
        path = tmp_path / str(call) / "X-state"
        path.parent.mkdir()
        write(path, "old")
        if cut_short:
            path.rename(atomic.old_of(path))
        status = run_until(call, "remove", path)
        left = atomic.existing_directory(path)
        assert left is None or content(path) == {"old"}
        seen.add(left is None)
        if status == 0:
            assert list(path.parent.iterdir()) == []
            assert seen == {False, True}
            return
    pytest.fail("the program never came to its end")


def test_everything_is_fsynced_before_it_gets_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    fsync, rename = atomic.fsync_path, atomic.os.rename
    monkeypatch.setattr(atomic, "fsync_path", lambda path: (calls.append(f"fsync {path.name}"), fsync(path)))
    monkeypatch.setattr(
        atomic.os, "rename", lambda old, new: (calls.append(f"rename {old.name} {new.name}"), rename(old, new))
    )
    write(tmp_path / "X-state", "old")
    write(tmp_path / "X-state", "new")
    first = ["fsync a", "fsync b", "fsync X-state.tmp"]
    parent = f"fsync {tmp_path.name}"
    assert calls == [
        *(*first, "rename X-state.tmp X-state", parent),
        *(*first, "rename X-state X-state.old", "rename X-state.tmp X-state", parent),
    ]


def test_a_failed_write_leaves_the_older_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "X-state"
    write(path, "old")

    def fail(folder: Path) -> None:
        (folder / "a").write_text("half")
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        atomic.write_directory(path, fail)
    with pytest.raises(OSError, match="No space"):
        atomic.write_file(tmp_path / "file", lambda _part: fail(path))
    assert content(path) >= {"old"}
    assert [entry.name for entry in tmp_path.iterdir()] == ["X-state"]


def test_a_removed_state_is_never_seen_half_deleted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "X-state"
    write(path, "old")
    seen = []
    rmtree = atomic.shutil.rmtree
    monkeypatch.setattr(
        atomic.shutil, "rmtree", lambda folder: (seen.append(atomic.existing_directory(path)), rmtree(folder))
    )
    atomic.remove_directory(path)
    assert seen == [None]
    assert list(tmp_path.iterdir()) == []
