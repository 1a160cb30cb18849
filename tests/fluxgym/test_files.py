# SPDX-License-Identifier: Apache-2.0
"""Only regular files are opened; no open or read can block, and reads have a limit."""

import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from fluxgym.files import NotAFile, TooLarge, open_file, read_file

CREATE = os.O_WRONLY | os.O_CREAT | os.O_TRUNC


def make_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(str(path))


KINDS: dict[str, tuple[Callable[[Path], object], str]] = {
    "FIFO": (os.mkfifo, "it is a FIFO, not a regular file"),
    "directory": (Path.mkdir, "it is a directory, not a regular file"),
    "socket": (make_socket, "it is a socket, not a regular file"),
    "device": (lambda path: path.symlink_to("/dev/zero"), "it is a device, not a regular file"),
    "dangling link": (
        lambda path: path.symlink_to("nowhere"),
        "it is a link to a file that does not exist, not a regular file",
    ),
    "circle": (lambda path: path.symlink_to(path.name), "it is a symbolic link, not a regular file"),
}


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)  # the length of a socket's path is limited
    return Path("file")


@pytest.mark.parametrize(("make", "says"), KINDS.values(), ids=KINDS)
def test_a_path_that_is_not_a_file_is_not_read(path: Path, make: Callable[[Path], object], says: str) -> None:
    make(path)
    with pytest.raises(NotAFile) as refusal:
        read_file(path)
    assert (refusal.value.strerror, refusal.value.filename) == (says, "file")


@pytest.mark.parametrize("make", [make for make, _ in KINDS.values()], ids=KINDS)
@pytest.mark.parametrize("flags", [CREATE, os.O_WRONLY | os.O_CREAT | os.O_APPEND, os.O_RDWR | os.O_CREAT])
def test_a_path_that_is_not_a_file_is_not_written_and_no_target_is_created(
    path: Path, make: Callable[[Path], object], flags: int
) -> None:
    make(path)
    with pytest.raises(NotAFile):
        open_file(path, flags)
    assert os.listdir() == ["file"]


def test_a_link_to_a_file_is_read_and_never_written_through(path: Path) -> None:
    Path("target").write_bytes(b"abc")
    path.symlink_to("target")
    assert read_file(path) == b"abc"
    with pytest.raises(NotAFile, match="it is a symbolic link"):
        open_file(path, CREATE)
    assert Path("target").read_bytes() == b"abc"


def test_a_file_is_created_private_and_is_not_inherited_by_children(path: Path) -> None:
    descriptor = open_file(path, CREATE)
    assert (path.stat().st_mode & 0o777, os.get_inheritable(descriptor), os.get_blocking(descriptor)) == (
        0o600,
        False,
        True,
    )
    os.close(descriptor)


def test_a_file_that_does_not_exist_is_missing(path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read_file(path)


@pytest.mark.parametrize("size", [0, 9, 10])
def test_a_file_up_to_the_limit_is_read(path: Path, size: int) -> None:
    path.write_bytes(bytes(size))
    assert len(read_file(path, most=10)) == size


def test_a_larger_one_is_refused_without_being_read(path: Path) -> None:
    path.touch()
    os.truncate(path, 1 << 40)
    with pytest.raises(TooLarge, match="it has 1099511627776 bytes, and the limit is 10"):
        read_file(path, most=10)
