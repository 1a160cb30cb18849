# SPDX-License-Identifier: Apache-2.0
"""Cache files: sd-scripts' npz files with an additional array, the seal, which ties the arrays to their inputs.

The seal is a SHA-256 over the inputs (picture or caption, model, settings) and over the arrays themselves. It reveals
a changed caption, another model, a torn file, and arrays that another program has overwritten; the cache is then made
again. sd-scripts checks none of these, and ignores the additional array. A cache without a seal, made by sd-scripts,
is used only if it is newer than the files it was made from (issue 5).
"""

from __future__ import annotations

import errno
import hashlib
import os
import zipfile
import zlib
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import numpy

from library import atomic
from library.errors import TrainerError
from library.files import npz

Arrays = Mapping[str, numpy.ndarray]
# Errors of a folder that this user may not write to, or that is on a read-only disk.
NOT_WRITABLE = (errno.EROFS, errno.EACCES, errno.EPERM)


def seal_of(inputs: Mapping[str, object], arrays: Arrays) -> str:
    """SHA-256, in hex, over names and values of the inputs, and names, types, shapes and bytes of the arrays."""
    digest = hashlib.sha256()
    for name in sorted(inputs):
        digest.update(f"{name}={inputs[name]}\0".encode())
    for name in sorted(arrays):
        array = numpy.ascontiguousarray(arrays[name])
        digest.update(f"{name}:{array.dtype.str}:{array.shape}\0".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


def check_folders(files: Iterable[Path], *, flag: str) -> None:
    """Raises TrainerError if these cache files, which `flag` asks for, cannot be written. Call it before encoding."""
    for folder in sorted({path.parent for path in files}):
        if not os.access(folder, os.W_OK):
            raise _not_writable(folder, flag)


def _not_writable(folder: Path, flag: str) -> TrainerError:
    return TrainerError(
        f"{flag} keeps caches beside the pictures, but {folder} is not writable: make it writable, or leave "
        "the flag out to keep the caches in memory",
        kind="dataset",
        path=folder,
    )


def write(path: Path, arrays: Arrays, *, seal_name: str, inputs: Mapping[str, object], flag: str) -> None:
    """Writes the arrays and their seal, and keeps the other arrays of the file (latents of other sizes).

    Raises OSError, and TrainerError if the folder cannot be written to; `flag` is the one that asks for the file.
    """
    others = {name: array for name, array in (read_all(path) or {}).items() if name not in arrays}
    seal = numpy.array(seal_of(inputs, arrays))

    def fill(part: Path) -> None:
        with part.open("wb") as file:  # an open file: numpy would append .npz to a name
            numpy.savez(file, **{**others, **arrays, seal_name: seal})  # type: ignore[arg-type]

    try:
        # Not durable: if a power failure damages a cache, it is made again.
        atomic.write_file(path, fill, durable=False)
    except OSError as error:
        if error.errno in NOT_WRITABLE:  # on a network volume, or because another user owns an older cache
            raise _not_writable(path.parent, flag) from error
        raise


def is_valid(
    path: Path,
    names: tuple[str, ...],
    *,
    seal_name: str,
    inputs: Mapping[str, object],
    unsealed: Callable[[Arrays], bool],
) -> bool:
    """Whether the file holds the named arrays, undamaged and made from these inputs. If the file has no seal,
    `unsealed` decides."""
    arrays = read_all(path)
    if arrays is None or any(name not in arrays for name in names):
        return False
    if seal_name not in arrays:
        return unsealed(arrays)
    return str(arrays[seal_name]) == seal_of(inputs, {name: arrays[name] for name in names})


def is_newer(cache: Path, sources: Iterable[Path]) -> bool:
    """Whether the cache was written later than each of the files that it was made from."""
    try:
        written = cache.stat().st_mtime_ns
        return all(written > source.stat().st_mtime_ns for source in sources)
    except OSError:
        return False


def read_all(path: Path) -> dict[str, numpy.ndarray] | None:
    """All arrays of the file, or None if it is missing or damaged. Pickled arrays are never read."""
    try:
        return npz.read(path)
    except (OSError, ValueError, EOFError, KeyError, RuntimeError, zipfile.BadZipFile, zlib.error):
        return None  # RuntimeError: a damaged zip directory can ask for an unknown compression or a password
