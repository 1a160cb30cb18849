# SPDX-License-Identifier: Apache-2.0
"""npz files are read as numpy reads them, and by several threads at once."""

from __future__ import annotations

import gc
import sys
import zipfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy
import pytest

from library.files import npz

ARRAYS = {
    "l_pooled": numpy.arange(64, dtype=numpy.float32),
    "t5_out": numpy.arange(12, dtype=numpy.float16).reshape(3, 4),
    "fortran": numpy.asfortranarray(numpy.arange(12.0).reshape(3, 4)),
    "big_endian": numpy.arange(5, dtype=">i8"),
    "flag": numpy.array(False),
    "seal": numpy.array("0f" * 32),
    "words": numpy.array(["é", "two words"]),
    "empty": numpy.zeros((0, 3)),
    "one": numpy.ones((1,), dtype=numpy.uint8),
}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "cache.npz"
    numpy.savez(path, **ARRAYS)  # type: ignore[arg-type]
    return path


@pytest.mark.parametrize("name", ARRAYS)
def test_an_array_equals_what_numpy_reads(path: Path, name: str) -> None:
    with numpy.load(path) as archive:
        expected = archive[name]
    found = npz.read(path, [name])[name]
    assert (found.dtype, found.shape, found.tolist()) == (expected.dtype, expected.shape, expected.tolist())
    assert found.flags.writeable


def test_all_arrays_are_read_if_none_is_named(path: Path) -> None:
    assert list(npz.read(path)) == list(ARRAYS)


def test_a_compressed_file_and_a_long_header_are_read(tmp_path: Path) -> None:
    numpy.savez_compressed(tmp_path / "small.npz", a=numpy.zeros(1000))
    assert npz.read(tmp_path / "small.npz")["a"].shape == (1000,)
    with zipfile.ZipFile(tmp_path / "long.npz", "w") as archive, archive.open("a.npy", "w") as file:
        numpy.lib.format.write_array(file, numpy.ones((2, 3)), version=(2, 0))
    assert npz.read(tmp_path / "long.npz")["a"].tolist() == [[1.0] * 3] * 2


@pytest.mark.parametrize(
    ("array", "error"),
    [
        (numpy.array([{}], dtype=object), "OBJECT"),
        (numpy.zeros(3, dtype=[("a", "f4")]), "that numpy would not write"),
    ],
)
def test_an_array_type_that_no_cache_holds_is_refused(tmp_path: Path, array: numpy.ndarray, error: str) -> None:
    numpy.savez(tmp_path / "odd.npz", a=array)
    with pytest.raises(ValueError, match=error):
        npz.read(tmp_path / "odd.npz")


@pytest.mark.parametrize(("before", "kept"), [(b"", slice(-8)), (b"", slice(0)), (b"X", slice(1, None))])
def test_an_incomplete_array_is_refused(tmp_path: Path, path: Path, before: bytes, kept: slice) -> None:
    with zipfile.ZipFile(path) as whole, zipfile.ZipFile(tmp_path / "torn.npz", "w") as torn:
        torn.writestr("l_pooled.npy", before + whole.read("l_pooled.npy")[kept])
    with pytest.raises(ValueError, match=r"."):
        npz.read(tmp_path / "torn.npz")


@pytest.fixture
def restless() -> Iterator[None]:
    """Makes threads switch at every chance, and the garbage collector run all the time."""
    interval, threshold = sys.getswitchinterval(), gc.get_threshold()

    def watcher(*_: object) -> None:
        """Runs Python code at each collection, so that another thread may take its turn there."""

    sys.setswitchinterval(1e-6)
    gc.set_threshold(5)
    gc.callbacks.append(watcher)
    yield
    gc.callbacks.remove(watcher)
    gc.set_threshold(*threshold)
    sys.setswitchinterval(interval)


@pytest.mark.usefixtures("restless")
def test_threads_read_at_the_same_time(path: Path) -> None:
    """numpy's reader fails here with SystemError, AST constructor recursion depth mismatch (Python 3.11 and 3.12)."""

    def read_often() -> int:
        return sum(len(npz.read(path, ["l_pooled", "t5_out"])) for _ in range(1000))

    with ThreadPoolExecutor(max_workers=4) as executor:
        assert [future.result() for future in [executor.submit(read_often) for _ in range(4)]] == [2000] * 4
