# SPDX-License-Identifier: Apache-2.0
"""Reads numpy's npz files in several threads at once, which numpy's own reader cannot do on Python 3.11 and 3.12.

numpy parses the header of each array with `ast.literal_eval`, and before Python 3.13 the constructor of syntax trees
keeps one depth count for all threads. If the garbage collector interrupts a thread within the constructor, and
another thread parses too, one of them fails with "SystemError: AST constructor recursion depth mismatch". This ended
a run whose threads read caches to prepare batches. It could just as well fail other users of syntax trees: Triton
builds them when it compiles a kernel. So the trainer's threads build none
(docs/decisions/0061-reading-caches-in-threads.md).

Format: a zip file of `NAME.npy` files, which numpy.lib.format describes. Their header is a Python literal, which
numpy has always written in one form, with its keys in order. Any other form is refused.
"""

from __future__ import annotations

import re
import zipfile
from collections.abc import Iterable
from pathlib import Path

import numpy

MAGIC = b"\x93NUMPY"
HEADER = re.compile(r"\{'descr': '([^']+)', 'fortran_order': (False|True), 'shape': \(([\d, ]*)\), \} *\n")


def read(path: Path, names: Iterable[str] | None = None) -> dict[str, numpy.ndarray]:
    """The named arrays of an npz file; all of them if `names` is None.

    Raises OSError, zipfile.BadZipFile for a truncated file, KeyError for a missing array, and ValueError for an array
    that is incomplete, holds Python objects or was not written by numpy.
    """
    with zipfile.ZipFile(path) as archive:
        if names is None:
            names = [member.removesuffix(".npy") for member in archive.namelist()]
        return {name: _array(archive.read(f"{name}.npy")) for name in names}


def _array(file: bytes) -> numpy.ndarray:
    if file[:6] != MAGIC or len(file) < 12:
        raise ValueError("not a .npy file")
    # The header's length has two bytes in version 1.0, and four in 2.0 (longer headers) and 3.0 (names in UTF-8).
    start = 10 if file[6] == 1 else 12
    end = start + int.from_bytes(file[8:start], "little")
    header = HEADER.fullmatch(file[start:end].decode("latin1"))
    if header is None:
        raise ValueError("a .npy header that numpy would not write")
    descr, fortran_order, sizes = header.groups()
    shape = tuple(int(size) for size in sizes.split(",") if size.strip())
    try:
        # A copy, since torch.from_numpy needs a writable array and bytes are read-only. Raises ValueError for a type
        # of Python objects, and if the number of bytes is not a multiple of the type's size.
        flat = numpy.frombuffer(file, dtype=numpy.dtype(descr), offset=end).copy()
    except TypeError as error:
        raise ValueError(f"a .npy file of an unknown type: {error}") from None
    return flat.reshape(shape[::-1]).T if fortran_order == "True" else flat.reshape(shape)
