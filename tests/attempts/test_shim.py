# SPDX-License-Identifier: Apache-2.0
"""The shim's own parts: how output is split into lines, what is passed on, and that the file works standalone."""

from __future__ import annotations

import ast
import fcntl
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from fluxgymd.attempts import records_on_disk, shim
from fluxgymd.attempts.shim import JournalCopier, LogCutter, split
from tests.harness.waiting import DEADLINE_SECONDS
from tests.store.small_disk import PAGE, fill, preallocate, small_disk

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
def test_output_is_split_into_lines(data: bytes, lines: list[tuple[int, bytes, bool]]) -> None:
    assert split(data, at_the_end=False, limit=LIMIT) == lines


@pytest.mark.parametrize("data", [b"tail", b"one\ntail", b"10%\r", b"123456789", b"a\r\n\rb", b"\r\n\r"])
def test_at_the_end_every_byte_is_copied(data: bytes) -> None:
    assert sum(taken for taken, _, _ in split(data, at_the_end=True, limit=LIMIT)) == len(data)


@pytest.mark.parametrize("cut", range(1, 24))
def test_it_does_not_matter_where_the_reads_end(cut: int) -> None:
    data = b"one\r\ntwo\n\n10%\r20%\r\nthree\n"
    first = split(data[:cut], at_the_end=False, limit=LIMIT)
    rest = split(data[sum(taken for taken, _, _ in first) :], at_the_end=False, limit=LIMIT)
    assert first + rest == split(data, at_the_end=False, limit=LIMIT)


class Reader:
    """The receiving end of a journal's socket."""

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
    """A copier that sends to `reader`'s socket, if the test uses `reader`."""
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


def test_only_the_newest_state_of_a_progress_bar_is_sent_and_at_most_once_a_second(
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


def test_lines_that_journald_does_not_accept_are_sent_again(
    tmp_path: Path, copier: JournalCopier, reader: Reader
) -> None:
    lines = [b"line %d" % number for number in range(5000)]
    write(tmp_path, b"\n".join(lines) + b"\n")
    assert not copier.copy(), "more than a socket's queue holds"
    assert not copier.away
    found: list[bytes] = []
    while not copier.copy():
        found += reader.messages()
    assert found + reader.messages() == lines


def test_lines_too_far_behind_are_skipped(tmp_path: Path, copier: JournalCopier, reader: Reader) -> None:
    write(tmp_path, b"x" * 1023 + b"\n")
    write(tmp_path, (b"y" * 1023 + b"\n") * (JournalCopier.LAG_BYTES // 1024))
    write(tmp_path, b"the end\n")
    found: list[bytes] = []
    while not copier.copy():
        found += reader.messages()
    found += reader.messages()
    assert found[-1] == b"the end"
    assert sum(map(len, found)) < 2 * JournalCopier.ROUND_BYTES


def test_a_missing_journald_is_not_an_error(tmp_path: Path, copier: JournalCopier) -> None:
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


@pytest.mark.parametrize(
    "words",
    ["x" * 2000, "ж" * 1000, "\N{ESCAPE}" * 2000, "\0" * 2000, "\N{REPLACEMENT CHARACTER}" * 2000, "🐈" * 500],
)
def test_promise_2_the_exit_record_fits_on_a_disk_that_has_filled_up(words: str, tmp_path: Path) -> None:
    with small_disk(tmp_path, pages=8) as disk:
        folder = os.open(disk, os.O_RDONLY | os.O_DIRECTORY)
        shim.reserve_record(folder, "exit.json")
        assert records_on_disk.read(disk).exit is None
        fill(disk)
        record = shim.exit_record({"kind": "exited", "code": 7}, seen=shim.ENDINGS, started_at=1.0)
        shim.write_record(folder, "exit.json", record | {"lastWords": words})
        os.close(folder)
        found = records_on_disk.read(disk)
        assert found.exit is not None
        assert (found.exit.kind, found.exit.code, found.notes) == ("exited", 7, ())
        assert found.exit.last_words == words
        assert (disk / "exit.json").read_bytes().endswith(b"}\n"), "the blanks that kept its room are left"
        assert not (disk / "exit.json.new").exists()


def folder_with_a_file(path: Path) -> None:
    path.mkdir()
    (path / "file").touch()


@pytest.mark.parametrize("name", ["exit.json", "exit.json.new"])
@pytest.mark.parametrize("make", [os.mkfifo, lambda path: path.symlink_to("nowhere"), folder_with_a_file])
def test_promise_2_the_exit_record_is_written_whatever_is_in_its_place(
    make: Callable[[Path], None], name: str, tmp_path: Path
) -> None:
    folder = os.open(tmp_path, os.O_RDONLY | os.O_DIRECTORY)
    folder_with_a_file(tmp_path / f"{name}.moved-1")  # left by an earlier run
    make(tmp_path / name)
    shim.write_record(folder, "exit.json", shim.exit_record({"kind": "exited", "code": 7}, started_at=1.0))
    os.close(folder)
    found = records_on_disk.read(tmp_path)
    assert found.exit is not None
    assert found.exit.code == 7
    kept = [f"{name}.moved-1", f"{name}.moved-2"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["exit.json", *kept]


def test_a_machine_that_forbids_memory_files_gets_none(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(_: str) -> int:
        raise PermissionError

    opened = shim.memory_file("x")
    assert opened is not None
    os.close(opened)
    monkeypatch.setattr(os, "memfd_create", refused)
    assert shim.memory_file("x") is None


MIB = 1 << 20


def test_the_middle_of_a_log_that_is_too_long_is_freed(tmp_path: Path) -> None:
    with small_disk(tmp_path, pages=16 * MIB // PAGE) as disk:
        log = os.open(disk / "log", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        cutter = LogCutter(log=log, limit=4 * MIB)
        text = b""
        for number in range(40):  # more than fits on the disk
            piece = bytes([65 + number % 26]) * MIB
            assert os.write(log, piece) == MIB
            text += piece
            cutter.cut()
            assert os.fstat(log).st_blocks * 512 <= 4 * MIB
        whole = (disk / "log").read_bytes()
        os.close(log)
    assert whole[:MIB] == text[:MIB]
    assert whole[-2 * MIB :] == text[-2 * MIB :]
    assert len(whole) == len(text)
    assert whole.count(0) >= 36 * MIB


def test_a_log_that_takes_more_blocks_than_it_has_bytes_is_kept_complete(tmp_path: Path) -> None:
    with small_disk(tmp_path, pages=40 * MIB // PAGE) as disk:
        log = os.open(disk / "log", os.O_RDWR | os.O_APPEND | os.O_CREAT)
        assert os.write(log, b"x" * (15 * MIB)) == 15 * MIB
        preallocate(log, 32 * MIB)
        LogCutter(log=log, limit=16 * MIB).cut()
        assert os.pread(log, 15 * MIB, 0).count(b"x") == 15 * MIB
        os.close(log)


def test_if_no_hole_can_be_made_the_log_is_kept_complete() -> None:
    log = os.memfd_create("log", os.MFD_ALLOW_SEALING)
    text = b"x" * (8 * MIB)
    os.write(log, text)
    fcntl.fcntl(log, fcntl.F_ADD_SEALS, fcntl.F_SEAL_WRITE)
    cutter = LogCutter(log=log, limit=4 * MIB)
    cutter.cut()
    assert cutter.limit == 0, "it would be tried four times a second"
    assert os.pread(log, len(text), 0) == text
    os.close(log)


def test_an_unknown_contract_is_refused_by_the_shim(tmp_path: Path) -> None:
    command = [
        *(sys.executable, "-I", "-S", str(Path(shim.__file__)), "--contract", "2", "--folder", str(tmp_path)),
        *("--gate-fd", "0", "--log", str(tmp_path / "log"), "--job", "test", "--directory", "/", "--", "/bin/true"),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=DEADLINE_SECONDS)
    assert done.returncode == 2
    assert "--contract" in done.stderr
    assert list(tmp_path.iterdir()) == []
