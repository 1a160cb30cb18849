# SPDX-License-Identifier: Apache-2.0
"""Reads the header of a safetensors file without the tensors: 8 bytes of length, then JSON with offsets
(huggingface.co/docs/safetensors: Format). The file counts as complete if it is as long as its header says.

The daemon itself parses small headers, such as trainers write; that of FLUX.1 has 100 kB. A separate program parses
large ones (large_files.py): with captions in the metadata, a header may have some MB.
"""

import functools
import os
import struct
import sys
from collections.abc import Mapping
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

import msgspec

from fluxgym.files import open_for_reading
from fluxgymd.background.bounded import Overran
from fluxgymd.background.lanes import NoAnswer
from fluxgymd.core.journal.decoding import decode
from fluxgymd.store import large_files
from fluxgymd.store.large_files import SMALL_BYTES

HEADER_LIMIT = 100 * 1024 * 1024
"""Bytes; the format's own limit."""
TENSORS = 10_000
"""A large header with more is refused. FLUX.1 has 780 tensors, a LoRA of all its layers 1,500."""
TEXTS = 1_000
"""Further texts of the metadata are left out. sd-scripts writes 60."""
TEXT_CHARACTERS = 256
"""A text of the metadata is left out if it or its name is longer."""
ANSWER_BYTES = 2 << 20
"""The limit for the program's answer, since the daemon parses it."""


class Tensor(msgspec.Struct, frozen=True):
    """One tensor, as the header describes it."""

    shape: tuple[int, ...]
    data_offsets: tuple[int, int]
    """Bytes, counted from the end of the header."""
    dtype: str = ""


class Header(msgspec.Struct, frozen=True):
    tensors: Mapping[str, Tensor]
    texts: Mapping[str, str]
    """The short texts under `__metadata__`, up to TEXTS of them."""


class HeaderAnswer(msgspec.Struct, frozen=True):
    """The program's answer about a large header."""

    problem: str | None = None
    header: Header | None = None


class NotSafetensors(ValueError):
    """The text says what is wrong with the file."""


def read(path: Path) -> Header:
    """The header of a complete file. Raises NotSafetensors or OSError. Blocks."""
    with open_for_reading(path) as file:
        length = _length(file, path.name)
        if length <= SMALL_BYTES:
            return _parse(file, path.name, length)
    answer = _ask(path)
    if answer.header is None:
        raise NotSafetensors(answer.problem or f"{path.name} is not a safetensors file")
    return answer.header


def check(path: Path) -> None:
    """Raises NotSafetensors if the file is not complete, or OSError. The answer about a large header is cached for
    that version of the file, because a stop that waits for a checkpoint checks every second. Blocks."""
    with open_for_reading(path) as file:
        length = _length(file, path.name)
        if length <= SMALL_BYTES:
            _parse(file, path.name, length)
            return
        facts = os.fstat(file.fileno())
    found = _problem_of_large(path, facts.st_ino, facts.st_size, facts.st_mtime_ns)
    if found is not None:
        raise NotSafetensors(found)


def problem(path: Path) -> str | None:
    """One clause about what is wrong; None if the file is complete. Raises NoAnswer if that is unknown at present."""
    try:
        check(path)
    except NoAnswer:
        raise
    except FileNotFoundError:
        return f"{path.name} is missing"
    except OSError as error:
        return f"{path.name} cannot be read: {error.strerror or error}"
    except NotSafetensors as error:
        return str(error)
    return None


def _length(file: BinaryIO, name: str) -> int:
    prefix = file.read(8)
    if len(prefix) < 8:
        raise NotSafetensors(f"{name} is too short to be a safetensors file")
    (length,) = struct.unpack("<Q", prefix)
    if length > HEADER_LIMIT:
        raise NotSafetensors(f"{name} is not a safetensors file")
    return int(length)


def _parse(file: BinaryIO, name: str, length: int) -> Header:
    """Parses the header of a file that was read up to the header's first byte."""
    text = file.read(length)
    size = file.seek(0, os.SEEK_END)
    try:
        header = decode(text, dict[str, Any])
        texts = header.pop("__metadata__", None)
        tensors = msgspec.convert(header, dict[str, Tensor])
    except msgspec.MsgspecError:
        raise NotSafetensors(f"{name} is not a safetensors file") from None
    data = max((tensor.data_offsets[1] for tensor in tensors.values()), default=0)
    if size != 8 + length + data:
        raise NotSafetensors(f"{name} has {size} bytes, but its header describes {8 + length + data}")
    texts = texts if isinstance(texts, dict) else {}
    short = (
        (key, text)
        for key, text in texts.items()
        if isinstance(text, str) and max(len(key), len(text)) <= TEXT_CHARACTERS
    )
    return Header(tensors=tensors, texts=dict(islice(short, TEXTS)))


@functools.lru_cache(maxsize=128)
def _problem_of_large(path: Path, _inode: int, _size: int, _modified_ns: int) -> str | None:
    return _ask(path, "check").problem


def _ask(path: Path, *words: str) -> HeaderAnswer:
    try:
        return decode(large_files.ask(__name__, path, *words, most=ANSWER_BYTES), HeaderAnswer)
    except Overran as error:
        return HeaderAnswer(problem=f"{path.name} has a header that cannot be read: {error}")


def _answer(path: Path, *, check_only: bool) -> HeaderAnswer:
    try:
        with open_for_reading(path) as file:
            header = _parse(file, path.name, _length(file, path.name))
    except NotSafetensors as error:
        return HeaderAnswer(problem=str(error))
    except MemoryError:
        return HeaderAnswer(problem=f"{path.name} has a header that {large_files.too_much_memory()}")
    if len(header.tensors) > TENSORS:
        return HeaderAnswer(problem=f"{path.name} lists more than {TENSORS} tensors")
    return HeaderAnswer(header=None if check_only else header)


if __name__ == "__main__":
    sys.stdout.buffer.write(msgspec.json.encode(_answer(Path(sys.argv[1]), check_only=sys.argv[2:] == ["check"])))
