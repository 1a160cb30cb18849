# SPDX-License-Identifier: Apache-2.0
"""Whether this machine's queue is paused: durable, for this machine only, and paused in case of doubt. Which of its
GPUs are quarantined: until a reboot, or until a user clears it."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from fluxgymd.store.machine import MachineState
from tests.harness.rights import WITHOUT_ROOTS_RIGHTS
from tests.harness.waiting import DEADLINE_SECONDS
from tests.store.small_disk import fill, small_disk

HERE = "m" * 32


def test_a_machine_that_nobody_paused_is_not_paused_and_nothing_is_written(tmp_path: Path) -> None:
    assert not MachineState(tmp_path / "machine", HERE).paused
    assert not (tmp_path / "machine").exists()


def test_a_pause_outlives_the_daemon_and_so_does_its_end(tmp_path: Path) -> None:
    folder = tmp_path / "fluxgym" / "machine"
    state = MachineState(folder, HERE)
    state.pause(paused=True)
    assert state.paused
    assert MachineState(folder, HERE).paused
    state.pause(paused=False)
    assert not MachineState(folder, HERE).paused


@pytest.mark.parametrize("other", ["e" * 32, ""])
def test_another_machine_is_not_paused_with_it(tmp_path: Path, other: str) -> None:
    MachineState(tmp_path, HERE).pause(paused=True)
    assert not MachineState(tmp_path, other).paused


def test_a_record_of_a_newer_version_is_read(tmp_path: Path) -> None:
    (tmp_path / f"{HERE}.json").write_text('{"queuePaused":true,"quarantined":["GPU-1"]}')
    assert MachineState(tmp_path, HERE).paused
    (tmp_path / f"{HERE}.json").write_text('{"quarantined":["GPU-1"]}')
    assert not MachineState(tmp_path, HERE).paused


@pytest.mark.parametrize(
    "data", [b"", b"garbage", bytes(40), b"[]", b'{"queuePaused":"\xff"}', b'{"x":' + b"[" * 200_000]
)
def test_in_case_of_doubt_nothing_is_started_until_the_user_decides(tmp_path: Path, data: bytes) -> None:
    (tmp_path / f"{HERE}.json").write_bytes(data)
    state = MachineState(tmp_path, HERE)
    assert state.paused
    assert state.problem is not None
    assert f"{tmp_path / HERE}.json (it is damaged)" in state.problem
    state.pause(paused=False)
    again = MachineState(tmp_path, HERE)
    assert (again.paused, again.problem) == (False, None)


def test_promise_8_a_damaged_record_is_kept_beside_the_one_that_replaces_it(tmp_path: Path) -> None:
    record = tmp_path / f"{HERE}.json"
    for data in (b"garbage", b"more of it"):
        record.write_bytes(data)
        MachineState(tmp_path, HERE).pause(paused=True)
        assert MachineState(tmp_path, HERE).problem is None
    kept = [tmp_path / f"{HERE}.json.damaged-{number}" for number in (1, 2)]
    assert [path.read_bytes() for path in kept] == [b"garbage", b"more of it"]


def test_an_unreadable_record_is_in_doubt_too(tmp_path: Path) -> None:
    (tmp_path / f"{HERE}.json").mkdir()
    state = MachineState(tmp_path, HERE)
    assert state.paused
    with pytest.raises(OSError, match=r"Operation not permitted|Is a directory"):
        state.pause(paused=False)
    assert state.paused
    assert "it is a directory" in str(state.problem)
    assert "move it elsewhere, then restart fluxgymd." in str(state.problem)


READ = f"""
from pathlib import Path
from fluxgymd.store.machine import MachineState
state = MachineState(Path("machine"), {HERE!r})
print(state.paused, state.problem)
"""


def test_a_folder_that_this_user_cannot_open_is_in_doubt_too(tmp_path: Path, checkout: Path) -> None:
    folder = tmp_path / "machine"
    folder.mkdir(mode=0)
    done = subprocess.run(
        [*WITHOUT_ROOTS_RIGHTS, sys.executable, "-c", READ],
        cwd=tmp_path,
        env={"PYTHONPATH": str(checkout)},
        capture_output=True,
        text=True,
        timeout=DEADLINE_SECONDS,
    )
    assert done.stdout.startswith("True Whether the queue is paused cannot be read from "), done.stderr
    assert f"machine/{HERE}.json (Permission denied), so nothing is started" in done.stdout


def test_a_disk_that_refuses_leaves_the_doubt_unchanged(tmp_path: Path) -> None:
    with small_disk(tmp_path, pages=8) as disk:
        record = disk / f"{HERE}.json"
        record.write_bytes(b"garbage")
        hog = fill(disk)
        state = MachineState(disk, HERE)
        for _ in range(2):
            with pytest.raises(OSError, match="No space left on device"):
                state.pause(paused=False)
        assert (state.paused, record.read_bytes()) == (True, b"garbage")
        hog.unlink()
        state.pause(paused=False)
        assert [path.read_bytes() for path in disk.glob("*.damaged-*")] == [b"garbage"]


def test_a_disk_that_refuses_changes_nothing(tmp_path: Path) -> None:
    with small_disk(tmp_path, pages=8) as disk:
        state = MachineState(disk, HERE)
        hog = fill(disk)
        with pytest.raises(OSError, match="No space left on device"):
            state.pause(paused=True)
        assert not state.paused
        assert not MachineState(disk, HERE).paused
        hog.unlink()
        state.pause(paused=True)
        assert MachineState(disk, HERE).paused


WHY = "The GPU has fallen off the bus."


def test_promise_4_a_quarantined_gpu_stays_so_until_it_is_cleared(tmp_path: Path) -> None:
    state = MachineState(tmp_path, HERE, "boot")
    assert state.put_aside("GPU-a", why=WHY, since=5.0, job="my-lora")
    assert state.put_aside("GPU-b", why=WHY, since=6.0, job=None)
    assert not state.put_aside("GPU-a", why="Another reason.", since=7.0, job=None)
    state.pause(paused=True)
    again = MachineState(tmp_path, HERE, "boot")
    assert again.paused
    assert again.quarantine == state.quarantine
    one = again.quarantine["GPU-a"]
    assert (one.why, one.since, one.job) == (WHY, 5.0, "my-lora")
    again.clear("GPU-a")
    assert set(MachineState(tmp_path, HERE, "boot").quarantine) == {"GPU-b"}


def test_promise_4_a_gpu_that_is_quarantined_while_others_are_cleared_stays_so(tmp_path: Path) -> None:
    state = MachineState(tmp_path, HERE, "boot")
    old, new = ([f"{age}-{number}" for number in range(8)] for age in ("old", "new"))

    def quarantine(uuid: str) -> bool:
        return state.put_aside(uuid, why=WHY, since=5.0, job=None)

    assert all(map(quarantine, old))
    with ThreadPoolExecutor(24) as threads:
        cleared = [threads.submit(state.clear, uuid) for uuid in old]
        first, second = ([threads.submit(quarantine, uuid) for uuid in new] for _ in range(2))
        assert [future.result() for future in cleared] == [None] * len(old)
        for one, other in zip(first, second, strict=True):
            assert {one.result(), other.result()} == {True, False}, "two threads quarantined one GPU"
    assert set(MachineState(tmp_path, HERE, "boot").quarantine) == set(new)


def test_a_reboot_clears_the_quarantine(tmp_path: Path) -> None:
    MachineState(tmp_path, HERE, "boot").put_aside("GPU-a", why=WHY, since=5.0, job=None)
    rebooted = MachineState(tmp_path, HERE, "another boot")
    assert rebooted.quarantine == {}
    rebooted.put_aside("GPU-b", why=WHY, since=9.0, job=None)
    assert set(MachineState(tmp_path, HERE, "another boot").quarantine) == {"GPU-b"}
    assert MachineState(tmp_path, HERE, "boot").quarantine == {}, "what is over is not kept"


def test_a_disk_that_refuses_leaves_the_quarantine_unchanged(tmp_path: Path) -> None:
    with small_disk(tmp_path, pages=8) as disk:
        state = MachineState(disk, HERE, "boot")
        hog = fill(disk)
        with pytest.raises(OSError, match="No space left on device"):
            state.put_aside("GPU-a", why=WHY, since=5.0, job=None)
        assert state.quarantine == {}
        hog.unlink()
        assert state.put_aside("GPU-a", why=WHY, since=5.0, job=None)
