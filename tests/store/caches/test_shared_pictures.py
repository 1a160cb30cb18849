# SPDX-License-Identifier: Apache-2.0
"""The pictures that jobs share: one file for the same bytes, never a wrong one, and deleted when no job uses it."""

import errno
import hashlib
import os
from pathlib import Path

import pytest

from fluxgymd.store.caches.shared_pictures import link, share, stamp, stamps, sweep
from tests.store.small_disk import small_disk


@pytest.fixture
def shared(tmp_path: Path) -> Path:
    return tmp_path / ".pictures"


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "IMG_1.JPG"
    path.write_bytes(b"a cat")
    os.utime(path, ns=(1, 1_234_567_891))
    return path


def get(source: Path, target: Path, shared: Path) -> bool:
    """Gives a job a picture as a submit does. Returns whether it is a link that needed no copy."""
    if link(source, target, shared):
        return True
    target.write_bytes(source.read_bytes())
    share(target, source, shared)
    return False


def files(shared: Path) -> list[Path]:
    return [path for path in shared.rglob("*") if path.is_file()]


def test_two_jobs_share_one_read_only_file_which_is_not_the_users(tmp_path: Path, source: Path, shared: Path) -> None:
    first, second = tmp_path / "1.jpg", tmp_path / "2.jpg"
    assert not get(source, first, shared)
    assert get(source, second, shared)
    (file,) = files(shared)
    assert file.name == f"{hashlib.sha256(b'a cat').hexdigest()}.jpg"
    assert first.samefile(second)
    assert first.samefile(file)
    assert not first.samefile(source)
    assert first.stat().st_mode & 0o777 == 0o444
    source.write_bytes(b"a dog")
    assert first.read_bytes() == second.read_bytes() == b"a cat"
    assert not get(source, tmp_path / "3.jpg", shared)
    assert sorted(path.read_bytes() for path in files(shared)) == [b"a cat", b"a dog"]


def test_a_picture_that_another_submit_shares_in_the_meantime_becomes_a_link(
    tmp_path: Path, source: Path, shared: Path
) -> None:
    """So does a second picture of a folder with the same bytes."""
    copies = [tmp_path / "job" / name for name in ("1.jpg", "2.jpg")]
    copies[0].parent.mkdir()
    for copy in copies:
        copy.write_bytes(b"a cat")
    for copy in copies:
        share(copy, source, shared)
    assert copies[0].samefile(copies[1])
    assert copies[0].stat().st_nlink == 3
    assert sorted(copies[0].parent.iterdir()) == copies


def test_a_shared_file_with_other_bytes_is_not_used(tmp_path: Path, source: Path, shared: Path) -> None:
    damaged = tmp_path / "1.jpg"
    get(source, damaged, shared)
    damaged.chmod(0o644)
    damaged.write_bytes(b"a rat")
    second, third = tmp_path / "2.jpg", tmp_path / "3.jpg"
    assert not get(source, second, shared)
    assert get(source, third, shared)
    assert second.samefile(third)
    assert (second.read_bytes(), damaged.read_bytes()) == (b"a cat", b"a rat")


def test_a_sweep_deletes_pictures_that_no_job_uses(tmp_path: Path, source: Path, shared: Path) -> None:
    assert sweep(shared) == 0
    copies = [tmp_path / "1.jpg", tmp_path / "2.jpg"]
    for copy in copies:
        get(source, copy, shared)
    copies[0].unlink()
    assert sweep(shared) == 0
    assert copies[1].read_bytes() == files(shared)[0].read_bytes() == b"a cat"
    copies[1].unlink()
    assert sweep(shared) == 1
    assert not shared.exists()


def test_a_sweep_leaves_foreign_files_alone(shared: Path) -> None:
    shared.mkdir()
    (shared / "notes.txt").touch()
    assert sweep(shared) == 0
    assert (shared / "notes.txt").exists()


def test_a_job_keeps_its_copy_if_a_sweep_comes_between(
    tmp_path: Path, source: Path, shared: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy, real = tmp_path / "1.jpg", os.link

    def swept_before(first: Path, second: Path) -> None:
        sweep(shared)
        real(first, second)

    monkeypatch.setattr(os, "link", swept_before)
    assert not get(source, copy, shared)
    assert (copy.read_bytes(), copy.stat().st_nlink) == (b"a cat", 1)
    assert files(shared) == []


@pytest.mark.parametrize("number", [errno.EPERM, errno.EMLINK, errno.ENOTSUP])
def test_a_job_keeps_its_copy_where_links_are_impossible(
    tmp_path: Path, source: Path, shared: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    get(source, tmp_path / "1.jpg", shared)

    def impossible(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "link", impossible)
    copy = tmp_path / "job" / "2.jpg"
    copy.parent.mkdir()
    assert not get(source, copy, shared)
    assert (copy.read_bytes(), copy.stat().st_nlink) == (b"a cat", 1)
    assert list(copy.parent.iterdir()) == [copy]


def test_a_job_on_another_file_system_keeps_its_copy(tmp_path: Path, source: Path, shared: Path) -> None:
    get(source, tmp_path / "1.jpg", shared)
    place = tmp_path / "disk"
    place.mkdir()
    with small_disk(place, pages=16) as disk:
        assert not get(source, disk / "2.jpg", shared)
        assert ((disk / "2.jpg").read_bytes(), (disk / "2.jpg").stat().st_nlink) == (b"a cat", 1)
        assert list(disk.iterdir()) == [disk / "2.jpg"]


def test_a_picture_that_cannot_be_read_is_not_linked(tmp_path: Path, shared: Path) -> None:
    assert not link(tmp_path / "gone.png", tmp_path / "1.png", shared)


def test_a_stamp_shows_that_a_picture_is_shared(tmp_path: Path, source: Path, shared: Path) -> None:
    assert stamps(shared) == set()
    get(source, tmp_path / "1.jpg", shared)
    assert stamp(source.stat()) in stamps(shared)
    source.write_bytes(b"a dog")
    assert stamp(source.stat()) not in stamps(shared)
