# SPDX-License-Identifier: Apache-2.0
"""The pure parts of the adapters: whose process it is, where an attempt ran, what it inherits, what a file says."""

from __future__ import annotations

import fcntl
import os
import subprocess
from pathlib import Path

import msgspec
import pytest

from fluxgymd.attempts import cgroups, looks, place, processes, records_on_disk
from fluxgymd.attempts.environment import job_environment
from fluxgymd.attempts.looks import OtherProcesses
from fluxgymd.attempts.members import sort
from fluxgymd.attempts.port import AttemptRef
from fluxgymd.attempts.processes import Stat
from fluxgymd.core.evidence import Conclusion, Exited, Runs, Where, conclude
from fluxgymd.core.journal.records import Place, Process, Ticks
from tests.harness.waiting import DEADLINE_SECONDS, until

# --- members

SHIM = Process(pid=100, start=Ticks(1000))


def one(pid: int, *, start: int = 2000, parent: int = 1, session: int = 1) -> Stat:
    return Stat(process=Process(pid=pid, start=Ticks(start)), parent=parent, session=session, dead=False)


THE_SHIM = one(100, start=1000, session=100)
TRAINER = one(101, parent=100, session=100)
WORKER = one(102, parent=101, session=102)
ORPHAN = one(103, parent=1, session=100)
STRANGER = one(104, parent=50, session=50)


@pytest.mark.parametrize(
    ("everyone", "marked", "proved", "doubtful"),
    [
        ([THE_SHIM, TRAINER, WORKER, STRANGER], set(), {100, 101, 102}, set()),  # proved by descent
        ([TRAINER, WORKER, STRANGER], {101, 102}, {101, 102}, set()),  # the shim is gone: proved by the mark
        ([TRAINER, WORKER, STRANGER], {102}, {102}, {101}),  # 101 has overwritten its mark
        ([ORPHAN], set(), set(), {103}),
        ([STRANGER], set(), set(), set()),
        # The shim's pid now belongs to another process, so the session with that number is another session.
        ([one(100, start=1500, session=100), ORPHAN], set(), set(), set()),
        # Older than the shim, so it cannot descend from it, whatever its mark says.
        ([one(105, start=10, parent=100, session=100)], {105}, set(), set()),
    ],
)
def test_promise_6_a_process_is_a_member_only_by_its_mark_or_its_parents(
    everyone: list[Stat], marked: set[int], proved: set[int], doubtful: set[int]
) -> None:
    found = sort(everyone, shim=SHIM, marked=lambda process: process.pid in marked)
    assert {process.pid for process in found.proved} == proved
    assert {process.pid for process in found.doubtful} == doubtful


def test_promise_6_without_a_known_shim_only_the_mark_counts() -> None:
    found = sort([THE_SHIM, TRAINER, STRANGER], shim=None, marked=lambda process: process.pid == 101)
    assert [process.pid for process in found.proved] == [101]
    assert found.doubtful == ()


# --- processes


def test_promise_6_a_process_is_known_by_pid_and_start() -> None:
    child = subprocess.Popen(["/bin/sleep", "1000"], env={"FLUXGYM_ATTEMPT_ID": "ab" * 16})
    try:
        seen = processes.stat(child.pid)
        assert seen is not None
        assert (seen.parent, seen.dead) == (os.getpid(), False)
        assert processes.lives(seen.process)
        assert not processes.lives(Process(pid=child.pid, start=Ticks(seen.process.start + 1)))
        # During exec the process briefly has no environment.
        until(lambda: processes.carries(child.pid, "ab" * 16), what="the mark")
        assert not processes.carries(child.pid, "ab" * 15)
        assert seen in processes.everyone()
        child.kill()
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        assert not processes.lives(seen.process), "a zombie does nothing any more"
        assert processes.open_pidfd(seen.process) is None
    finally:
        child.kill()
        child.wait(timeout=DEADLINE_SECONDS)
    assert processes.stat(child.pid) is None


# --- places

HERE = Place(machine_id="m1", boot_id="b1", pid_namespace="pid:[1]", init_start=Ticks(5))


def changed(**changes: object) -> Place:
    fields = {name: getattr(HERE, name) for name in ("machine_id", "boot_id", "pid_namespace", "init_start")}
    return Place(**{**fields, **changes})


@pytest.mark.parametrize(
    ("recorded", "now", "lock_held", "expected"),
    [
        (HERE, HERE, False, Where.HERE),
        (HERE, HERE, True, Where.HERE),
        (changed(boot_id="b0"), HERE, False, Where.OTHER_BOOT),
        (changed(pid_namespace="pid:[2]"), HERE, False, Where.OTHER_BOOT),
        (changed(init_start=Ticks(4)), HERE, False, Where.OTHER_BOOT),  # the container was restarted
        (changed(machine_id="m2", boot_id="b2"), HERE, False, Where.ELSEWHERE),
        # Its lock is held, so it runs elsewhere, in a place that shares the volume.
        (changed(pid_namespace="pid:[2]"), HERE, True, Where.ELSEWHERE),
        (changed(boot_id="b0"), HERE, True, Where.ELSEWHERE),
        # Without a machine-id, another boot may be another machine; another namespace of the same boot is not.
        (changed(machine_id="", boot_id="b0"), changed(machine_id=""), False, Where.ELSEWHERE),
        (changed(machine_id="", init_start=Ticks(4)), changed(machine_id=""), False, Where.OTHER_BOOT),
    ],
)
def test_the_place_of_an_attempt_is_recognized(recorded: Place, now: Place, lock_held: bool, expected: Where) -> None:
    assert place.where(recorded, now, lock_held=lock_held) is expected


def test_this_machine_counts_as_here() -> None:
    assert place.where(place.here(), place.here(), lock_held=False) is Where.HERE
    assert place.here().boot_id


# --- files


def test_an_empty_folder_says_nothing(tmp_path: Path) -> None:
    found = records_on_disk.read(tmp_path)
    assert (found.shim, found.started, found.exit, found.lock_held, found.notes) == (None, None, None, False, ())


@pytest.mark.parametrize("damage", [b"", b"{", b"\0" * 40, b"[]", b'{"kind": 1}', b'{"code": 0}'])
def test_a_damaged_record_counts_as_absent_and_is_named(tmp_path: Path, damage: bytes) -> None:
    (tmp_path / "exit.json").write_bytes(damage)
    found = records_on_disk.read(tmp_path)
    assert found.exit is None
    assert len(found.notes) == 1
    assert str(tmp_path / "exit.json") in found.notes[0]


def test_a_record_of_a_newer_shim_is_read(tmp_path: Path) -> None:
    (tmp_path / "exit.json").write_text('{"contract": 2, "kind": "exited", "code": 0, "newer": [1]}')
    found = records_on_disk.read(tmp_path)
    assert found.exit is not None
    assert found.exit.code == 0


def test_the_lock_is_detected_and_not_kept(tmp_path: Path) -> None:
    with (tmp_path / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert records_on_disk.read(tmp_path).lock_held
    assert not records_on_disk.read(tmp_path).lock_held
    with (tmp_path / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)


@pytest.mark.parametrize(("running", "held"), [(True, True), (False, False)])
def test_without_locks_the_shim_process_itself_is_checked(tmp_path: Path, running: bool, held: bool) -> None:
    own = processes.stat(os.getpid())
    assert own is not None
    shim = records_on_disk.ShimRecord(
        contract=1,
        pid=os.getpid(),
        start=Ticks(own.process.start + (0 if running else 1)),
        boot_id="",
        pid_namespace="",
        locked=False,
    )
    (tmp_path / "shim.json").write_bytes(msgspec.json.encode(shim))
    found = records_on_disk.read(tmp_path)
    assert (found.lock_held, found.locks) == (held, False)


def test_promise_2_a_shim_that_records_the_end_during_a_look_does_not_count_as_one_without_a_record(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    child = subprocess.Popen(["/bin/sleep", "1000"])
    read = records_on_disk.read

    def read_just_before_its_end(folder: Path) -> records_on_disk.AttemptRecords:
        found = read(folder)
        (folder / "exit.json").write_text('{"kind": "exited", "code": 7}')
        child.kill()
        child.wait(timeout=DEADLINE_SECONDS)
        return found

    try:
        shim = processes.stat(child.pid)
        assert shim is not None
        ended = Process(pid=child.pid, start=Ticks(shim.process.start + 1))
        ref = AttemptRef(
            unit="x",
            folder=tmp_path,
            mark="ab" * 16,
            place=place.here(),
            shim=shim.process,
            placement=None,
            trainer=ended,
        )
        monkeypatch.setattr(records_on_disk, "read", read_just_before_its_end)

        def concluded() -> Conclusion:
            return conclude(looks.look(ref, owns=lambda _: False, left=lambda: OtherProcesses(populated=False)))

        assert concluded() == Runs()
        found = concluded()
        assert isinstance(found, Exited)
        assert found.exit is not None
        assert found.exit.code == 7
    finally:
        child.kill()
        child.wait(timeout=DEADLINE_SECONDS)


# --- cgroups and the environment


@pytest.mark.parametrize(
    ("group", "service"),
    [
        ("/user.slice/user-1000.slice/user@1000.service/app.slice/fluxgymd.service", "fluxgymd.service"),
        ("/user.slice/user-1000.slice/session-2.scope", None),
        ("/user.slice/user-1000.slice/user@1000.service/init.scope", None),
        ("/user.slice/user-1000.slice/user@1000.service", None),
        ("/", None),
    ],
)
def test_the_daemon_recognizes_its_own_service(group: str, service: str | None) -> None:
    assert cgroups.own_service(f"1:name=systemd:/old\n0::{group}\n") == service


def test_a_missing_cgroup_is_empty() -> None:
    assert cgroups.populated("/no/such/group") is False


def test_only_listed_variables_reach_the_trainer() -> None:
    passed = {
        "HOME": "/h",
        "FLUXGYM_CACHES": "/c",
        "LC_TIME": "C",
        "NVIDIA_VISIBLE_DEVICES": "all",
        "HF_HOME": "/m",
        "TORCH_HOME": "/t",
    }
    dropped = {"NOTIFY_SOCKET": "/n", "PYTHONPATH": "/p", "VIRTUAL_ENV": "/v", "HF_TOKEN": "x", "HF_API_KEY": "x"}
    assert job_environment({**passed, **dropped, "XDG_RUNTIME_DIR": "/run/user/1", "FLUXGYM_HOME": "/f"}) == passed
