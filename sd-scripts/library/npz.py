# SPDX-License-Identifier: Apache-2.0
"""Reads numpy's npz files from several threads at once, which numpy's own reader cannot on Python 3.11 and 3.12.

numpy has the header of each array parsed by `ast.literal_eval`, and until Python 3.13 the constructor of syntax trees
counts its depth for all threads together. A thread that is interrupted within it, by the garbage collector, fails
with "SystemError: AST constructor recursion depth mismatch". It ended a run in which the threads that prepare batches
read caches, and it could fail another user of syntax trees just as well: Triton builds them when it compiles a
kernel. So no thread of ours builds any.

Format: a zip file of `NAME.npy`; numpy.lib.format describes those. Its header is a Python literal, which numpy has
always written in one form, with its keys in order. Any other form is refused.
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
    """The named arrays of an npz file, or all.

    Errors: OSError, zipfile.BadZipFile where the file is torn, KeyError for an array that is not there, ValueError
    for one that is not whole, holds Python objects or was not written by numpy.
    """
    with zipfile.ZipFile(path) as archive:
        if names is None:
            names = [member.removesuffix(".npy") for member in archive.namelist()]
        return {name: _array(archive.read(f"{name}.npy")) for name in names}


def _array(file: bytes) -> numpy.ndarray:
    if file[:6] != MAGIC or len(file) < 12:
        raise ValueError("not a .npy file")
    # Version 1.0 counts the header in two bytes; 2.0, for longer ones, and 3.0, for names in UTF-8, in four.
    start = 10 if file[6] == 1 else 12
    end = start + int.from_bytes(file[8:start], "little")
    header = HEADER.fullmatch(file[start:end].decode("latin1"))
    if header is None:
        raise ValueError("a .npy header of another form than numpy writes")
    descr, fortran_order, sizes = header.groups()
    shape = tuple(int(size) for size in sizes.split(",") if size.strip())
    try:
        # A copy, because the bytes of a file cannot be written to, which torch.from_numpy asks for. Raises ValueError
        # for a type of Python objects, and where the numbers of bytes differ.
        flat = numpy.frombuffer(file, dtype=numpy.dtype(descr), offset=end).copy()
    except TypeError as error:
        raise ValueError(f"a .npy file of an unknown type: {error}") from None
    return flat.reshape(shape[::-1]).T if fortran_order == "True" else flat.reshape(shape)
