# SPDX-License-Identifier: Apache-2.0
"""How much more of the host's memory a process can use, within the limits of its cgroups."""

from __future__ import annotations

from pathlib import Path

import psutil
import pytest

from library.memory import host_memory

MB = 1_000_000
STATISTICS = "anon 7\ninactive_file 30000000\nactive_file 20000000\n"


def make(folder: Path, *, most: str, used: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "memory.max").write_text(f"{most}\n")
    (folder / "memory.current").write_text(f"{used}\n")
    (folder / "memory.stat").write_text(STATISTICS)


def test_a_limit_leaves_unused_and_reclaimable_memory(tmp_path: Path) -> None:
    make(tmp_path, most=str(500 * MB), used=200 * MB)
    assert host_memory.room_in(tmp_path, version=2) == 350 * MB


@pytest.mark.parametrize(("most", "used", "room"), [("max", 1, None), (str(100 * MB), 300 * MB, 0)])
def test_there_may_be_no_limit_or_nothing_left(tmp_path: Path, most: str, used: int, room: int | None) -> None:
    make(tmp_path, most=most, used=used)
    assert host_memory.room_in(tmp_path, version=2) == room


def test_a_cgroup_that_cannot_be_read_limits_nothing(tmp_path: Path) -> None:
    assert host_memory.room_in(tmp_path / "of another namespace", version=2) is None
    (tmp_path / "memory.max").write_text("lots\n")
    assert host_memory.room_in(tmp_path, version=2) is None


def test_a_cgroup_of_version_1_is_understood(tmp_path: Path) -> None:
    (tmp_path / "memory.limit_in_bytes").write_text(f"{500 * MB}\n")
    (tmp_path / "memory.usage_in_bytes").write_text(f"{200 * MB}\n")
    (tmp_path / "memory.stat").write_text("inactive_file 1\ntotal_inactive_file 50000000\ntotal_active_file 0\n")
    assert host_memory.room_in(tmp_path, version=1) == 350 * MB


def test_a_process_is_in_its_own_cgroup_and_all_above_it(tmp_path: Path) -> None:
    text = "11:cpu,cpuacct:/x\n9:memory:/docker/abc\n0::/user.slice/a.scope\n"
    assert list(host_memory.own_cgroups(text, root=tmp_path)) == [
        (1, tmp_path / "memory" / "docker" / "abc"),
        (1, tmp_path / "memory" / "docker"),
        (1, tmp_path / "memory"),
        (2, tmp_path / "user.slice" / "a.scope"),
        (2, tmp_path / "user.slice"),
        (2, tmp_path),
    ]


def test_the_strictest_limit_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Uses this process's own place in a tree of cgroups that is made for the test."""
    lines = Path("/proc/self/cgroup").read_text(encoding="ascii")
    folders = list(host_memory.own_cgroups(lines, root=tmp_path))
    if not any(version == 2 for version, _ in folders):
        folders = [(2, tmp_path)]
        monkeypatch.setattr(host_memory, "own_cgroups", lambda *_args, **_options: iter(folders))
    monkeypatch.setattr(host_memory, "CGROUPS", tmp_path)
    assert 0 < host_memory.available() <= psutil.virtual_memory().total
    make(next(folder for version, folder in folders if version == 2), most=str(60 * MB), used=50 * MB)
    assert host_memory.available() == 60 * MB
