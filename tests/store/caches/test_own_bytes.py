# SPDX-License-Identifier: Apache-2.0
"""What deleting a folder would free: a file that also has a name elsewhere does not count."""

import os
from pathlib import Path

from fluxgymd.store.caches.own_bytes import own_bytes

MIB = 1 << 20


def test_only_files_without_a_name_elsewhere_count(tmp_path: Path) -> None:
    folder = tmp_path / "job"
    (folder / "deep" / "er").mkdir(parents=True)
    (folder / "deep" / "er" / "own").write_bytes(b"x" * MIB)
    os.link(folder / "deep" / "er" / "own", folder / "again")
    (tmp_path / "shared").write_bytes(b"x" * MIB)
    os.link(tmp_path / "shared", folder / "shared")
    (folder / "link").symlink_to(tmp_path / "shared")
    assert MIB <= own_bytes(folder) < MIB + 64 * 1024
    (tmp_path / "shared").unlink()
    assert 2 * MIB <= own_bytes(folder) < 2 * MIB + 64 * 1024


def test_a_shared_picture_counts_with_the_last_job_that_has_it(tmp_path: Path) -> None:
    shared = tmp_path / ".pictures"
    for name in ("first", "second", ".pictures"):
        (tmp_path / name).mkdir()
    (tmp_path / "first" / "a.png").write_bytes(b"x" * MIB)
    os.link(tmp_path / "first" / "a.png", shared / "a.png")
    os.link(tmp_path / "first" / "a.png", tmp_path / "second" / "b.png")
    assert own_bytes(tmp_path / "first", swept=shared) == 0
    (tmp_path / "second" / "b.png").unlink()
    assert own_bytes(tmp_path / "first", swept=shared) >= MIB
    assert own_bytes(tmp_path / "first") == 0


def test_a_hole_takes_no_space_and_a_missing_folder_frees_nothing(tmp_path: Path) -> None:
    with (tmp_path / "hole").open("wb") as file:
        file.truncate(100 * MIB)
    assert own_bytes(tmp_path) < MIB
    assert own_bytes(tmp_path / "none") == 0
