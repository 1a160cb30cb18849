# SPDX-License-Identifier: Apache-2.0
"""The folder for an attempt's temporary files: where it is, and that other users' files are never used or deleted."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from fluxgymd.attempts import temporary

MARK = "0123456789abcdef" * 2
NAME = "fluxgym-0123456789ab"


def chosen(base: object) -> Path | None:
    return temporary.choose(MARK, {"TMPDIR": str(base)})


def test_it_is_below_the_temporary_directory_of_the_daemon(folder: Path) -> None:
    assert chosen(folder) == folder / NAME
    assert temporary.choose(MARK, {}) == Path("/tmp") / NAME


def test_an_unusable_directory_is_skipped(folder: Path) -> None:
    (folder / "file").touch()
    (folder / "shared").mkdir()
    (folder / "shared").chmod(0o777)  # without the sticky bit, anyone could replace a folder in it
    (not_utf8 := folder / os.fsdecode(b"h\xe9")).mkdir()
    for base in (folder / "file", folder / "shared", folder / "none", not_utf8, "relative", ""):
        assert chosen(base) == Path("/tmp") / NAME
    (folder / "shared").chmod(0o1777)
    assert chosen(folder / "shared") == folder / "shared" / NAME


def test_the_path_leaves_room_for_the_names_of_sockets(folder: Path) -> None:
    for length in range(1, 60):
        base = folder / ("é" * length)
        base.mkdir()
        path = chosen(base)
        assert path is not None
        assert len(os.fsencode(path / "torch-shm-dir-xxxxxx" / "manager.sock")) <= 107
        assert len(os.fsencode(path / "pymp-xxxxxxxx" / "listener-xxxxxxxx")) <= 107
    assert path == Path("/tmp") / NAME


def test_nothing_is_chosen_if_nothing_can_be_used(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(temporary, "USUAL", (str(folder / "none"),))
    assert temporary.choose(MARK, {}) is None


def test_only_this_user_has_access_to_it(folder: Path) -> None:
    path = folder / NAME
    temporary.make(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o700


def test_an_existing_directory_is_never_taken(folder: Path) -> None:
    path = folder / NAME
    (folder / "target").mkdir()
    path.symlink_to(folder / "target")
    with pytest.raises(FileExistsError):
        temporary.make(path)
    path.unlink()
    path.mkdir()
    with pytest.raises(FileExistsError):
        temporary.make(path)


def test_it_is_removed_with_its_contents_but_links_are_not_followed(folder: Path) -> None:
    (kept := folder / "kept").mkdir()
    (kept / "file").touch()
    path = folder / NAME
    temporary.make(path)
    (path / "pymp-x").mkdir()
    (path / "pymp-x" / "listener-x").touch()
    (path / "link").symlink_to(kept)
    assert temporary.remove(path, MARK) is None
    assert not path.exists()
    assert (kept / "file").exists()
    assert temporary.remove(path, MARK) is None


def test_nothing_else_is_ever_removed(folder: Path) -> None:
    (mine := folder / "mine").mkdir()
    for path in (mine, Path(NAME), folder / "fluxgym-ba9876543210"):
        assert str(temporary.remove(path, MARK)).endswith(
            "is not the name of a folder of this attempt, so it is kept."
        )
    assert mine.exists()
    link = folder / NAME
    link.symlink_to(mine)
    assert temporary.remove(link, MARK) == f"{link} is not a folder of this user, so it is kept."
    assert link.is_symlink()
