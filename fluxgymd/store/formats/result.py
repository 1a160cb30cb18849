# SPDX-License-Identifier: Apache-2.0
"""Checks a job's result: it must exist, be complete, and come from this attempt rather than an earlier one.

The result of a training is its final safetensors file. The result of a program is result.json, which the program
writes last and which lists the files that it made: {"files": [{"path": ..., "size": ...}]}, with paths relative to
the job's folder.
"""

import errno
import io
import stat
import sys
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

import msgspec

from fluxgym.files import Unusable, read_file
from fluxgymd.background.bounded import Overran
from fluxgymd.core.journal.decoding import decode, decode_with
from fluxgymd.core.journal.events import FileStamp
from fluxgymd.store import large_files
from fluxgymd.store.formats import safetensors_header

NO_SUCH_FILE = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG})
"""Errors that mean: the name leads to no file. Any other error comes from the disk, and the daemon tries again."""


def stamp(path: Path) -> FileStamp | None:
    """The identity of this version of the file; None if the file does not exist."""
    try:
        facts = path.stat()
    except OSError as error:
        if error.errno not in NO_SUCH_FILE:
            raise
        return None
    return FileStamp(inode=facts.st_ino, size=facts.st_size, modified_ns=facts.st_mtime_ns)


def problem(path: Path, before: FileStamp | None) -> str | None:
    """Why the file is not the result; None if it is. `before`: the stamp from before the attempt, or None."""
    now = stamp(path)
    if now is None:
        return f"its final file {path.name} is missing"
    if now == before:
        return f"{path.name} is from an earlier attempt"
    wrong = safetensors_header.problem(path)
    return f"its final file is damaged: {wrong}" if wrong else None


RESULT_BYTES = 16 << 20
"""The limit for result.json, enough for 60,000 files with long paths. A large one is parsed by a separate program."""


class MadeFile(msgspec.Struct, frozen=True):
    path: str
    size: int


class ProgramResult(msgspec.Struct, frozen=True):
    """result.json."""

    files: list[MadeFile]


def program_problem(path: Path, before: FileStamp | None) -> str | None:
    """Why result.json does not describe a complete result; None if it does. `before`: as with `problem`.

    Any content gets an answer, because otherwise the job would never end: the file comes from a program. Raises
    OSError only if the disk does not answer.
    """
    now = stamp(path)
    if now is None:
        return f"it wrote no {path.name}"
    if now == before:
        return f"{path.name} is from an earlier attempt"
    try:
        told = _files_in(path, now)
    except UnreadableResult as error:
        return f"{path.name} cannot be read: {error}"
    return next((wrong for made in told if (wrong := _wrong(made, path))), None)


def made_by_program(path: Path) -> Iterator[str]:
    """The files that result.json lists, as the program named them; empty if it is missing or cannot be read. OSError
    as for `program_problem`."""
    now = stamp(path)
    if now is not None:
        with suppress(UnreadableResult):
            yield from (made.path for made in _files_in(path, now))


class UnreadableResult(Exception):
    """The text is a clause that says why."""


def _files_in(path: Path, now: FileStamp) -> Iterable[MadeFile]:
    return _told(path) if now.size <= large_files.SMALL_BYTES else _told_by_a_program(path)


def _told(path: Path) -> list[MadeFile]:
    try:
        return decode(read_file(path, most=RESULT_BYTES), ProgramResult).files
    except msgspec.MsgspecError as error:
        raise UnreadableResult(str(error)) from None
    except Unusable as error:
        raise UnreadableResult(error.strerror) from None
    except MemoryError:
        raise UnreadableResult(f"it {large_files.too_much_memory()}") from None


def _told_by_a_program(path: Path) -> Iterator[MadeFile]:
    """Decodes the files one at a time, so that the daemon's other threads run in between."""
    try:
        printed = large_files.ask(__name__, path, most=2 * RESULT_BYTES)
    except Overran as error:
        raise UnreadableResult(str(error)) from None
    problem, _, files = printed.partition(b"\n")
    if problem:
        raise UnreadableResult(problem.decode())
    decoder = msgspec.json.Decoder(MadeFile)
    return (decode_with(decoder, line) for line in io.BytesIO(files))


def _printed(path: Path) -> Iterable[bytes]:
    """The output of the program: a line that says why result.json cannot be read, empty if it can, then one line of
    JSON for each file that it lists."""
    try:
        files = _told(path)
    except UnreadableResult as error:
        return [" ".join(str(error).split()).encode(), b"\n"]
    return [b"\n", msgspec.json.Encoder().encode_lines(files)]


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
        return f"{made.path!r} has {facts.st_size} bytes, but {told_in.name} says {made.size}"
    return None


if __name__ == "__main__":
    sys.stdout.buffer.writelines(_printed(Path(sys.argv[1])))
