# SPDX-License-Identifier: Apache-2.0
"""After a write the file is the old or the new one. A disk that refuses leaves the old one and nothing else."""

import stat
from pathlib import Path

import pytest

from fluxgymd.store.atomic import sync_folder, write_all, write_file
from tests.store.small_disk import PAGE, fill, small_disk


def test_a_file_is_made_and_replaced(tmp_path: Path) -> None:
    path = tmp_path / "owner.json"
    write_file(path, b"old")
    inode = path.stat().st_ino
    write_file(path, b"new")
    assert path.read_bytes() == b"new"
    assert path.stat().st_ino != inode  # a new file under the same name: readers of the old one still read all of it
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [entry.name for entry in tmp_path.iterdir()] == ["owner.json"]


def test_the_remains_of_a_crash_are_overwritten(tmp_path: Path) -> None:
    (tmp_path / ".owner.json.new").write_bytes(b"half of something longer")
    write_file(tmp_path / "owner.json", b"new")
    assert (tmp_path / "owner.json").read_bytes() == b"new"
    assert [entry.name for entry in tmp_path.iterdir()] == ["owner.json"]


def test_a_full_disk_leaves_the_old_file_and_no_other(tmp_path: Path) -> None:
    with small_disk(tmp_path, pages=8) as disk:
        path = disk / "ui_state.json"
        write_file(path, b"old")
        hog = fill(disk)
        with pytest.raises(OSError, match="No space left"):
            write_file(path, b"new" * PAGE)
        assert path.read_bytes() == b"old"
        assert sorted(entry.name for entry in disk.iterdir()) == ["hog", "ui_state.json"]
        hog.unlink()
        write_file(path, b"new" * PAGE)
        assert path.read_bytes() == b"new" * PAGE


def test_a_missing_folder_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        write_file(tmp_path / "nowhere" / "file", b"x")
    with pytest.raises(FileNotFoundError):
        sync_folder(tmp_path / "nowhere")


def test_a_short_write_is_continued_until_the_disk_is_full(tmp_path: Path) -> None:
    with small_disk(tmp_path, pages=8) as disk, (disk / "file").open("wb", buffering=0) as file:
        with pytest.raises(OSError, match="No space left"):
            write_all(file.fileno(), bytes(9 * PAGE))
        written = (disk / "file").stat().st_size
        assert 0 < written < 9 * PAGE
