# SPDX-License-Identifier: Apache-2.0
"""The result that a job's kind declares: there, whole, and made by this attempt and not by an earlier one.

A training's is its final safetensors file. A program's is result.json, which it writes last, with the files that it
made: {"files": [{"path": ..., "size": ...}]}, paths relative to the job's folder.
"""

import errno
import stat
from pathlib import Path

import msgspec

from fluxgymd.core.decoding import decode
from fluxgymd.core.events import FileStamp
from fluxgymd.store import safetensors_header

RESULT_BYTES = 16 << 20
"""Of a result.json: 100,000 files have room."""

NO_SUCH_FILE = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG})
"""Errors that say something of the name. Others are the disk's, and are asked again."""


def stamp(path: Path) -> FileStamp | None:
    """What identifies this version of the file; None if there is none."""
    try:
        facts = path.stat()
    except OSError as error:
        if error.errno not in NO_SUCH_FILE:
            raise
        return None
    return FileStamp(inode=facts.st_ino, size=facts.st_size, modified_ns=facts.st_mtime_ns)


def problem(path: Path, before: FileStamp | None) -> str | None:
    """Why the file is not the result; None if it is. `before`: the stamp from before the attempt."""
    now = stamp(path)
    if now is None:
        return f"its final file {path.name} is missing"
    if now == before:
        return f"{path.name} is the file of an earlier attempt"
    wrong = safetensors_header.problem(path)
    return f"its final file is torn: {wrong}" if wrong else None


class MadeFile(msgspec.Struct, frozen=True):
    path: str
    size: int


class ProgramResult(msgspec.Struct, frozen=True):
    """result.json."""

    files: list[MadeFile]


def program_problem(path: Path, before: FileStamp | None) -> str | None:
    """Why result.json does not tell of a whole result; None if it does. `before`: as with `problem`.

    It is a program's word: whatever it holds, there is an answer, or its job would never end.
    """
    now = stamp(path)
    if now is None:
        return f"it wrote no {path.name}"
    if now == before:
        return f"{path.name} is that of an earlier attempt"
    if not path.is_file():
        return f"{path.name} is not a file"
    if now.size > RESULT_BYTES:
        return f"{path.name} has {now.size} bytes, which is more than {RESULT_BYTES}"
    try:
        told = decode(path.read_bytes(), ProgramResult)
    except msgspec.MsgspecError as error:
        return f"{path.name} cannot be read: {error}"
    return next((wrong for made in told.files if (wrong := _wrong(made, path))), None)


def _wrong(made: MadeFile, told_in: Path) -> str | None:
    file = told_in.parent / made.path
    try:
        facts = file.stat()
    except (OSError, ValueError) as error:
        if isinstance(error, OSError) and error.errno not in NO_SUCH_FILE:
            raise
        return f"{made.path!r}, which {told_in.name} names, is missing"
    if not stat.S_ISREG(facts.st_mode):
        return f"{made.path!r}, which {told_in.name} names, is not a file"
    if facts.st_size != made.size:
        return f"{made.path!r} has {facts.st_size} bytes, and {told_in.name} says {made.size}"
    return None
