# SPDX-License-Identifier: Apache-2.0
"""Cache files: sd-scripts' npz with one more array, the seal, which ties the arrays to what they were made from.

The seal is a SHA-256 over the inputs (picture or caption, model, settings) and over the arrays themselves. So a
changed caption, another model, a torn file and arrays that another program wrote over are all seen, and the cache
is made again; sd-scripts checks none of these (trainers.md 1.7). Its own reader ignores the extra array.
A cache without a seal, which sd-scripts made, counts only if it is newer than what it was made from (issue 5).
"""

from __future__ import annotations

import hashlib
import zipfile
import zlib
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import numpy

from library import atomic, npz

Arrays = Mapping[str, numpy.ndarray]


def seal_of(inputs: Mapping[str, object], arrays: Arrays) -> str:
    """SHA-256 in hex over the inputs by name and the arrays by name, type, shape and bytes."""
    digest = hashlib.sha256()
    for name in sorted(inputs):
        digest.update(f"{name}={inputs[name]}\0".encode())
    for name in sorted(arrays):
        array = numpy.ascontiguousarray(arrays[name])
        digest.update(f"{name}:{array.dtype.str}:{array.shape}\0".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


def write(path: Path, arrays: Arrays, *, seal_name: str, inputs: Mapping[str, object]) -> None:
    """Writes the arrays and their seal, keeping what else the file holds (latents of other sizes)."""
    others = {name: array for name, array in (read_all(path) or {}).items() if name not in arrays}
    seal = numpy.array(seal_of(inputs, arrays))

    def fill(part: Path) -> None:
        with part.open("wb") as file:  # an open file: numpy would append .npz to a name
            numpy.savez(file, **{**others, **arrays, seal_name: seal})  # type: ignore[arg-type]

    # Not durable: a cache that a power cut tears is made again.
    atomic.write_file(path, fill, durable=False)


def is_valid(
    path: Path,
    names: tuple[str, ...],
    *,
    seal_name: str,
    inputs: Mapping[str, object],
    unsealed: Callable[[Arrays], bool],
) -> bool:
    """Whether the file holds the named arrays, made from these inputs and whole. `unsealed` is asked about arrays
    that have no seal."""
    arrays = read_all(path)
    if arrays is None or any(name not in arrays for name in names):
        return False
    if seal_name not in arrays:
        return unsealed(arrays)
    return str(arrays[seal_name]) == seal_of(inputs, {name: arrays[name] for name in names})


def is_newer(cache: Path, sources: Iterable[Path]) -> bool:
    """Whether the cache was written after each of the files it may have been made from."""
    try:
        written = cache.stat().st_mtime_ns
        return all(written > source.stat().st_mtime_ns for source in sources)
    except OSError:
        return False


def read_all(path: Path) -> dict[str, numpy.ndarray] | None:
    """Every array of the file, or None where it is missing or torn. Pickled arrays are never read."""
    try:
        return npz.read(path)
    except (OSError, ValueError, EOFError, KeyError, RuntimeError, zipfile.BadZipFile, zlib.error):
        return None  # RuntimeError: a torn directory can name a compression or a password that is not there
