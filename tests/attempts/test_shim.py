# SPDX-License-Identifier: Apache-2.0
"""The shim's own parts: how output is cut into lines, what of it goes on, and that the file stands alone."""

from __future__ import annotations

import ast
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from fluxgymd.attempts import shim
from fluxgymd.attempts.shim import JournalCopier, split

LIMIT = 8
NEVER = float("inf")


@pytest.mark.parametrize(
    ("data", "lines"),
    [
        (b"", []),
        (b"one\ntwo\n", [(4, b"one", False), (4, b"two", False)]),
        (b"one\r\ntwo\r\n", [(5, b"one", False), (5, b"two", False)]),
        (b"10%\r20%\rdone\n", [(4, b"10%", True), (4, b"20%", True), (5, b"done", False)]),
        (b"10%\r", []),  # a \n may follow
        (b"tail", []),
        (b"one\ntail", [(4, b"one", False)]),
        (b"\n\n", [(1, b"", False), (1, b"", False)]),
        (b"123456789\n", [(8, b"12345678", False), (2, b"9", False)]),
        (b"123456789", [(8, b"12345678", False)]),
    ],
)
def test_split(data: bytes, lines: list[tuple[int, bytes, bool]]) -> None:
    assert split(data, at_the_end=False, limit=LIMIT) == lines


@pytest.mark.parametrize("data", [b"tail", b"one\ntail", b"10%\r", b"123456789", b"a\r\n\rb", b"\r\n\r"])
def test_at_the_end_every_byte_is_taken(data: bytes) -> None:
    assert sum(taken for taken, _, _ in split(data, at_the_end=True, limit=LIMIT)) == len(data)


@pytest.mark.parametrize("cut", range(1, 24))
def test_where_the_reads_end_does_not_matter(cut: int) -> None:
    data = b"one\r\ntwo\n\n10%\r20%\r\nthree\n"
    first = split(data[:cut], at_the_end=False, limit=LIMIT)
    rest = split(data[sum(taken for taken, _, _ in first) :], at_the_end=False, limit=LIMIT)
    assert first + rest == split(data, at_the_end=False, limit=LIMIT)


class Reader:
    """The other end of a journal's socket."""

    def __init__(self, path: Path) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        self.socket.bind(str(path))

    def messages(self) -> list[bytes]:
        found = []
        while True:
            try:
                found.append(self.socket.recv(65536).rpartition(b"MESSAGE=")[2].rstrip(b"\n"))
            except BlockingIOError:
                return found


@pytest.fixture
def reader(tmp_path: Path) -> Iterator[Reader]:
    reader = Reader(tmp_path / "journal")
    yield reader
    reader.socket.close()


@pytest.fixture
def copier(tmp_path: Path) -> Iterator[JournalCopier]:
    """It sends to where `reader` listens, if the test has one."""
    log = tmp_path / "log"
    log.write_bytes(b"of an earlier attempt\n")
    copier = JournalCopier(log=str(log), job="test", address=str(tmp_path / "journal"))
    yield copier
    copier.socket.close()
    os.close(copier.log)


def write(tmp_path: Path, data: bytes) -> None:
    with (tmp_path / "log").open("ab") as log:
        log.write(data)


def test_only_what_is_new_is_copied(tmp_path: Path, copier: JournalCopier, reader: Reader) -> None:
    copier.copy()
    write(tmp_path, b"one\ntw")
    copier.copy()
    assert reader.messages() == [b"one"]
    write(tmp_path, b"o\n")
    copier.copy()
    assert reader.messages() == [b"two"]


def test_of_a_progress_bar_the_newest_state_goes_on_and_not_more_often_than_once_a_second(
    tmp_path: Path, copier: JournalCopier, reader: Reader
) -> None:
    write(tmp_path, b"\r10%\r20%\r30%\r ")
    copier.copy()
    assert reader.messages() == [b"30%"]
    assert copier.bar_due > 0
    copier.bar_due = NEVER
    write(tmp_path, b"\r40%\r50%\r ")
    copier.copy()
    assert reader.messages() == []
    write(tmp_path, b"\r100%\nsaved\n")
    copier.copy()
    assert reader.messages() == [b"100%", b"saved"]


def test_what_journald_does_not_take_is_sent_again(tmp_path: Path, copier: JournalCopier, reader: Reader) -> None:
    lines = [b"line %d" % number for number in range(5000)]
    write(tmp_path, b"\n".join(lines) + b"\n")
    assert not copier.copy(), "more than a socket's queue holds"
    assert not copier.away
    found: list[bytes] = []
    while not copier.copy():
        found += reader.messages()
    assert found + reader.messages() == lines


def test_what_lags_too_far_behind_is_skipped(tmp_path: Path, copier: JournalCopier, reader: Reader) -> None:
    write(tmp_path, b"x" * 1023 + b"\n")
    write(tmp_path, (b"y" * 1023 + b"\n") * (JournalCopier.LAG_BYTES // 1024))
    write(tmp_path, b"the end\n")
    found: list[bytes] = []
    while not copier.copy():
        found += reader.messages()
    found += reader.messages()
    assert found[-1] == b"the end"
    assert sum(map(len, found)) < 2 * JournalCopier.ROUND_BYTES


def test_a_journal_that_is_away_is_no_error(tmp_path: Path, copier: JournalCopier) -> None:
    write(tmp_path, b"one\n")
    copier.drain()
    assert copier.away


def test_the_shim_needs_only_the_standard_library_and_imports_it_before_the_gate() -> None:
    tree = ast.parse(Path(shim.__file__).read_text())
    imports = [node for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom)]
    assert all(node in tree.body for node in imports), "an import later would read files that an upgrade replaced"
    names = {alias.name for node in imports if isinstance(node, ast.Import) for alias in node.names}
    names |= {node.module or "" for node in imports if isinstance(node, ast.ImportFrom)}
    assert {name.partition(".")[0] for name in names} <= sys.stdlib_module_names


def test_a_contract_that_the_shim_does_not_know_is_refused(tmp_path: Path) -> None:
    command = [
        *(sys.executable, "-I", "-S", str(Path(shim.__file__)), "--contract", "2", "--folder", str(tmp_path)),
        *("--gate-fd", "0", "--log", str(tmp_path / "log"), "--job", "test", "--directory", "/", "--", "/bin/true"),
    ]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 2
    assert "--contract" in done.stderr
    assert list(tmp_path.iterdir()) == []
