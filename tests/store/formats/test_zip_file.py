# SPDX-License-Identifier: Apache-2.0
"""A ZIP file is judged by its directory, of which no more is read than torch.save would write."""

import os
import tracemalloc
import zipfile
from pathlib import Path

import pytest

from fluxgymd.store.formats import zip_file
from tests.store.files import PICKLES, RECORDED


@pytest.mark.parametrize("name", PICKLES)
def test_a_file_from_torch_is_complete_but_not_without_its_end(tmp_path: Path, name: str) -> None:
    assert zip_file.is_whole(RECORDED / name)
    torn = tmp_path / name
    torn.write_bytes((RECORDED / name).read_bytes()[:-1])
    assert not zip_file.is_whole(torn)


def test_promise_10_a_directory_of_more_entries_than_any_state_has_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "optimizer.bin"
    with zipfile.ZipFile(path, "w") as archive:
        for number in range(8_000):
            archive.writestr(f"archive/data/{number:0100}", b"")
    assert path.stat().st_size > zip_file.DIRECTORY_BYTES
    tracemalloc.start()
    assert not zip_file.is_whole(path)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 2 * zip_file.DIRECTORY_BYTES


def test_an_optimizer_with_seven_tensors_for_each_of_a_large_lora_is_complete(tmp_path: Path) -> None:
    path = tmp_path / "optimizer.bin"
    with zipfile.ZipFile(path, "w") as archive:
        for number in range(7 * 1500):
            archive.writestr(f"optimizer/data/{number}", b"")
    assert zip_file.is_whole(path)


def test_an_empty_file_and_a_folder_are_incomplete(tmp_path: Path) -> None:
    (tmp_path / "x").touch()
    assert not zip_file.is_whole(tmp_path / "x")
    with pytest.raises(OSError, match="directory"):
        zip_file.is_whole(tmp_path)
    assert not any(os.path.samefile(f"/proc/self/fd/{fd}", tmp_path / "x") for fd in _open())


def _open() -> list[str]:
    return [fd for fd in os.listdir("/proc/self/fd") if os.path.exists(f"/proc/self/fd/{fd}")]
