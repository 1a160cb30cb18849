# SPDX-License-Identifier: Apache-2.0
"""Output to a disk that fills up, and to a pipe that nobody reads."""

from __future__ import annotations

import os
from pathlib import Path

from library import streams
from library.streams import KEPT_BYTES, LAST_WORDS_BYTES, Patient
from tests.store.small_disk import PAGE, fill, small_disk

FLAGS = os.O_WRONLY | os.O_APPEND | os.O_CREAT


def line(number: int) -> bytes:
    return b"line %06d\n" % number


def test_output_that_a_full_disk_refuses_is_written_once_there_is_room(tmp_path: Path) -> None:
    lines = [line(number) for number in range(KEPT_BYTES // 2 // len(line(0)))]
    with small_disk(tmp_path, pages=32) as disk:
        descriptor = os.open(disk / "log", FLAGS)
        stream = Patient(descriptor)
        assert stream.write(lines[0]) == len(lines[0])
        hog = fill(disk)
        for one in lines[1:-1]:
            assert stream.write(one) == len(one)
        assert len((disk / "log").read_bytes()) < sum(map(len, lines)) // 2
        hog.unlink()
        stream.write(lines[-1])
        assert (disk / "log").read_bytes() == b"".join(lines)
        os.close(descriptor)


def test_if_too_much_is_waiting_the_newest_is_written_and_the_loss_is_reported(tmp_path: Path) -> None:
    count = 3 * KEPT_BYTES // len(line(0))
    with small_disk(tmp_path, pages=64) as disk:
        descriptor = os.open(disk / "log", FLAGS)
        stream = Patient(descriptor)
        hog = fill(disk)
        for number in range(count):
            stream.write(line(number))
        hog.unlink()
        stream.write(line(count))
        text = (disk / "log").read_bytes()
        os.close(descriptor)
    assert text.endswith(line(count - 1) + line(count))
    before, _, rest = text.partition(b"\n[")
    lost, _, after = rest.partition(b" bytes of output are missing here]\n")
    assert len(before) + int(lost) + len(after) == (count + 1) * len(line(0))


def test_a_reader_that_disconnects_ends_nothing() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    stream = Patient(writing)
    for number in range(KEPT_BYTES):
        assert stream.write(line(number)) == len(line(number))
    os.close(writing)


def test_only_unwritten_output_is_kept_in_memory(tmp_path: Path) -> None:
    words = os.memfd_create("fluxgym-last-words")
    with small_disk(tmp_path, pages=8) as disk:
        descriptor = os.open(disk / "log", FLAGS)
        stream = Patient(descriptor, last_words=words)
        stream.write(b"on the disk\n")
        assert os.pread(words, LAST_WORDS_BYTES, 0) == b""
        hog = fill(disk)
        for number in range(1000):
            stream.write(line(number))
        stream.write(b"error: no room\n")
        left = os.pread(words, 2 * LAST_WORDS_BYTES, 0)
        assert left.endswith(line(999) + b"error: no room\n")
        assert len(left) == LAST_WORDS_BYTES
        hog.unlink()
        stream.write(b"\n")
        assert os.pread(words, LAST_WORDS_BYTES, 0) == b""
        os.close(descriptor)
    os.close(words)


def test_a_line_cut_off_by_a_full_disk_is_kept_in_memory_from_its_start(tmp_path: Path) -> None:
    words = os.memfd_create("fluxgym-last-words")
    with small_disk(tmp_path, pages=8) as disk:
        descriptor = os.open(disk / "log", FLAGS)
        stream = Patient(descriptor, last_words=words)
        stream.write(b"x" * (PAGE - 11) + b"\n")
        fill(disk)
        stream.write(b"error: no room\n")
        assert (disk / "log").read_bytes().endswith(b"x\nerror: no ")
        assert os.pread(words, LAST_WORDS_BYTES, 0) == b"error: no room\n"
        os.close(descriptor)
    os.close(words)


def test_a_name_that_leads_to_another_file_is_not_written_to(tmp_path: Path) -> None:
    """The supervisor's name may lead to another file in another pid namespace."""
    other = os.open(tmp_path / "other", FLAGS)
    words = os.memfd_create("fluxgym-last-words")
    assert streams._last_words(f"/proc/{os.getpid()}/fd/{other}") is None
    assert streams._last_words(str(tmp_path / "missing")) is None
    opened = streams._last_words(f"/proc/{os.getpid()}/fd/{words}")
    assert opened is not None
    for descriptor in (other, words, opened):
        os.close(descriptor)
