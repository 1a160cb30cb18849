# SPDX-License-Identifier: Apache-2.0
"""The ways in which disks and people damage a file."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from random import Random

from tests.fuzz.junk import JUNK, damaged, places

HUGE_BYTES = 300 << 20
"""Size of a file with a hole: above the limits of all records and of a journal (256 MiB)."""


@dataclass(frozen=True)
class Way:
    """`forges`: the damaged file may read as other content that is just as valid."""

    name: str
    do: Callable[[Path, Random], None]
    forges: bool = False


def _rewrite(change: Callable[[bytes, Random], bytes]) -> Callable[[Path, Random], None]:
    """Changes the same file, as a disk does, or an editor that doesn't rename."""

    def do(path: Path, choice: Random) -> None:
        path.write_bytes(change(path.read_bytes(), choice))

    return do


def _zeros(data: bytes, choice: Random) -> bytes:
    start = choice.randint(0, len(data))
    length = choice.choice((1, 16, 512, 4096))
    return data[:start] + bytes(len(data[start : start + length])) + data[start + length :]


def _flip(data: bytes, choice: Random) -> bytes:
    changed = bytearray(data)
    for _ in range(choice.choice((1, 1, 8)) if data else 0):
        changed[choice.randrange(len(data))] ^= 1 << choice.randrange(8)
    return bytes(changed)


def _insert(data: bytes, choice: Random) -> bytes:
    place = choice.randint(0, len(data))
    inserted = choice.choice((b"\0", b"\n", b"\xff", b'"', b"}", b"x" * 5000, b"\0" * 4096, b"7", bytes(range(256))))
    return data[:place] + inserted + data[place:]


def _other_json(data: bytes, choice: Random) -> bytes:
    """Replaces one value in one line, or everything if that line isn't a JSON object or list."""
    lines = data.splitlines(keepends=True)
    junk = choice.choice(JUNK)
    number = choice.randrange(len(lines)) if lines else 0
    try:
        path = choice.choice(list(places(json.loads(lines[number]))))
    except (ValueError, IndexError):
        return junk.encode() + b"\n"
    return b"".join((*lines[:number], damaged(lines[number], path, junk), *lines[number + 1 :]))


def _instead(make: Callable[[Path], object]) -> Callable[[Path, Random], None]:
    def do(path: Path, _: Random) -> None:
        path.unlink()
        make(path)

    return do


def _huge(path: Path, _: Random) -> None:
    os.truncate(path, HUGE_BYTES)


WAYS = (
    Way("cut", _rewrite(lambda data, choice: data[: choice.randint(0, len(data))])),
    Way("emptied", _rewrite(lambda _data, _choice: b"")),
    Way("zeros in it", _rewrite(_zeros)),
    Way("bits flipped", _rewrite(_flip), forges=True),
    Way("bytes inserted", _rewrite(_insert), forges=True),
    Way("other JSON", _rewrite(_other_json), forges=True),
    Way("a folder", _instead(lambda path: path.mkdir())),
    Way("a FIFO", _instead(os.mkfifo)),
    Way("a dangling link", _instead(lambda path: path.symlink_to("nowhere"))),
    Way("unreadable", _instead(lambda path: path.symlink_to("/proc/self/mem"))),  # EIO, for root too
    Way("huge", _huge),
)
