# SPDX-License-Identifier: Apache-2.0
"""One daemon owns one home: tested against a real second process, with locks and on a volume without working locks,
and against the record of another machine."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pytest

from fluxgymd.core.journal.records import Place
from fluxgymd.store import owner as owners
from fluxgymd.store.owner import DOUBT_SECONDS, EXPIRY_SECONDS, IN_DOUBT, HomeTaken, OwnerRecord, Ownership
from tests.core.histories import PLACE
from tests.harness import lockless
from tests.harness.waiting import DEADLINE_SECONDS
from tests.store.small_disk import fill, small_disk

ELSEWHERE = msgspec.structs.replace(PLACE, machine_id="e" * 32)
AFTER_REBOOT = msgspec.structs.replace(PLACE, boot_id="a" * 32)

OWNER = """
import sys
from pathlib import Path
from fluxgymd.store.owner import HomeTaken, Ownership
from tests.core.histories import PLACE
owner = Ownership(Path(sys.argv[1]), PLACE, Path("/first.sock"), settle_seconds=0.0)
try:
    owner.take()
except HomeTaken as refusal:
    print(refusal, flush=True)
    sys.exit(refusal.exit_status)
print("taken", flush=True)
for line in sys.stdin:
    try:
        getattr(owner, line.strip())()
        print("done", flush=True)
    except HomeTaken as refusal:
        print(refusal, flush=True)
"""

RACER = """
import sys
from fluxgymd.store import owner

def wait_for_the_others(what):
    print(what, flush=True)
    sys.stdin.readline()

owner.failpoint = lambda name: wait_for_the_others("has looked") if name == "owner.locked" else None
owner.time.sleep = lambda _: wait_for_the_others("has written")
"""
"""Stops between its look and its record, and again where it waits for other daemons' records."""

Process = subprocess.Popen[str]


def start_owner(home: Path, checkout: Path, *, locks: bool = True, program: str = OWNER) -> Process:
    """Starts a process that tries to own the home and prints the result. After that, each line on its stdin is a
    call."""
    around = [] if locks else [sys.executable, lockless.__file__]
    return subprocess.Popen(
        [*around, sys.executable, "-c", program, home],
        cwd=checkout,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def told(process: Process) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def ask(process: Process, call: str) -> str:
    """The result of a call: `done`, or the refusal."""
    assert process.stdin is not None
    process.stdin.write(f"{call}\n")
    process.stdin.flush()
    return told(process)


@contextmanager
def other_daemon(home: Path, checkout: Path, *, locks: bool = True) -> Iterator[Process]:
    """A process that owns the home."""
    with start_owner(home, checkout, locks=locks) as process:
        try:
            assert told(process) == "taken"
            yield process
        finally:
            process.kill()


def owner_of(home: Path, place: Place = PLACE) -> Ownership:
    return Ownership(home, place, Path("/second.sock"), settle_seconds=0.0)


def record(home: Path) -> OwnerRecord:
    return msgspec.json.decode((home / "owner.json").read_bytes(), type=OwnerRecord)


def leave_record(home: Path, place: Place, *, age: float) -> None:
    left = OwnerRecord(pid=77, socket="/far.sock", place=place, renewed_at=time.time() - age)
    (home / "owner.json").write_bytes(msgspec.json.encode(left))
    os.utime(home / "owner.json", (left.renewed_at, left.renewed_at))


def test_promise_4_a_second_daemon_is_refused_and_told_which_one_owns_the_home(
    tmp_path: Path, checkout: Path
) -> None:
    with other_daemon(tmp_path, checkout) as first:
        before = (tmp_path / "owner.json").read_bytes()
        with pytest.raises(HomeTaken) as refusal:
            owner_of(tmp_path).take()
        assert refusal.value.message == (
            f"The home {tmp_path} is owned by the fluxgymd with pid {first.pid} and socket /first.sock; "
            "stop it first, or choose another --home."
        )
        assert refusal.value.exit_status == 4
        assert (tmp_path / "owner.json").read_bytes() == before


def test_a_daemon_that_was_killed_owns_nothing(tmp_path: Path, checkout: Path) -> None:
    with other_daemon(tmp_path, checkout) as first:
        first.kill()
        first.wait(timeout=DEADLINE_SECONDS)
        assert record(tmp_path).pid == first.pid  # the killed process could not clean up
        owner = owner_of(tmp_path)
        owner.take()
        assert record(tmp_path).socket == "/second.sock"
        owner.release()


def test_the_record_of_a_dead_owner_does_not_block_a_home_on_a_full_disk(tmp_path: Path, checkout: Path) -> None:
    with small_disk(tmp_path, pages=8) as home, other_daemon(home, checkout) as first:
        first.kill()
        first.wait(timeout=DEADLINE_SECONDS)
        hog = fill(home)
        owner = owner_of(home)
        owner.take()
        for _ in range(2):
            with pytest.raises(OSError, match="No space left on device"):
                owner.renew()
        assert owner.problem() is None
        assert record(home).pid == first.pid
        with start_owner(home, checkout) as third:
            assert told(third) == (
                f"The home {home} is owned by another fluxgymd; stop it first, or choose another --home."
            ), "it is told to stop a process that is dead"
        hog.unlink()
        owner.renew()
        assert record(home).pid == os.getpid()
        owner.release()


def test_a_home_that_was_released_can_be_taken_at_once(tmp_path: Path, checkout: Path) -> None:
    with other_daemon(tmp_path, checkout) as first:
        assert ask(first, "release") == "done"
        assert not (tmp_path / "owner.json").exists()
        owner = owner_of(tmp_path)
        owner.take()
        owner.release()


def test_a_locked_home_without_a_record_is_refused_all_the_same(tmp_path: Path, checkout: Path) -> None:
    with other_daemon(tmp_path, checkout):
        (tmp_path / "owner.json").unlink()
        with pytest.raises(HomeTaken, match="is owned by another fluxgymd; stop it first"):
            owner_of(tmp_path).take()


def test_a_home_that_another_machine_renewed_recently_is_refused(tmp_path: Path) -> None:
    leave_record(tmp_path, ELSEWHERE, age=EXPIRY_SECONDS / 2)
    with pytest.raises(HomeTaken, match=r"the fluxgymd with pid 77 and socket /far\.sock"):
        owner_of(tmp_path).take()
    # The refused daemon holds no lock, so the machine that owns the home isn't kept out.
    (tmp_path / "owner.json").unlink()
    owner = owner_of(tmp_path)
    owner.take()
    owner.release()


def test_promise_4_without_a_machine_id_another_boot_may_be_another_machine(tmp_path: Path) -> None:
    """Two pods of one image, with the home on a volume whose locks do not work between them."""
    nameless = msgspec.structs.replace(PLACE, machine_id="")
    leave_record(tmp_path, msgspec.structs.replace(nameless, boot_id="a" * 32), age=EXPIRY_SECONDS / 2)
    with pytest.raises(HomeTaken):
        owner_of(tmp_path, nameless).take()
    leave_record(tmp_path, nameless, age=0)  # the same boot: the lock decides
    owner = owner_of(tmp_path, nameless)
    owner.take()
    owner.release()


@pytest.mark.parametrize(
    ("place", "age"),
    [
        (ELSEWHERE, EXPIRY_SECONDS * 2),  # another machine, which no longer runs
        (PLACE, 0),  # this machine: the lock decides
        (AFTER_REBOOT, 0),
    ],
)
def test_a_record_that_proves_nothing_is_overwritten(tmp_path: Path, place: Place, age: float) -> None:
    leave_record(tmp_path, place, age=age)
    owner = owner_of(tmp_path)
    owner.take()
    assert record(tmp_path).socket == "/second.sock"
    owner.release()


@pytest.mark.parametrize("content", [b"", b"\0\0", b'{"pid":"x"}', b'{"\xff":1}', b"[" * 100_000])
def test_a_torn_record_blocks_nobody(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "owner.json").write_bytes(content)
    owner = owner_of(tmp_path)
    owner.take()
    owner.release()


def test_a_renewed_record_has_a_newer_time(tmp_path: Path) -> None:
    owner = owner_of(tmp_path)
    owner.take()
    first = record(tmp_path)
    owner.renew()
    second = record(tmp_path)
    owner.release()
    assert second.renewed_at > first.renewed_at
    assert msgspec.structs.replace(second, renewed_at=first.renewed_at) == first


def test_a_home_that_was_never_taken_is_not_released(tmp_path: Path) -> None:
    leave_record(tmp_path, ELSEWHERE, age=0)
    owner_of(tmp_path).release()
    assert (tmp_path / "owner.json").exists()


# --- on a volume without working locks, only the record counts


def test_promise_4_without_locks_a_second_daemon_of_this_machine_is_refused(tmp_path: Path, checkout: Path) -> None:
    with other_daemon(tmp_path, checkout, locks=False) as first:
        left = msgspec.structs.replace(record(tmp_path), renewed_at=time.time() - EXPIRY_SECONDS * 2)
        (tmp_path / "owner.json").write_bytes(
            msgspec.json.encode(left)
        )  # it hangs and doesn't renew its record, but it lives
        with start_owner(tmp_path, checkout, locks=False) as second:
            assert f"is owned by the fluxgymd with pid {first.pid} and socket /first.sock; stop it" in told(second)
            assert second.wait(timeout=DEADLINE_SECONDS) == 4
        first.kill()
        first.wait(timeout=DEADLINE_SECONDS)
        with other_daemon(tmp_path, checkout, locks=False) as third:  # succeeds at once: the first process is gone
            assert record(tmp_path).pid == third.pid


def test_promise_4_a_deleted_lock_file_lets_no_second_daemon_in(tmp_path: Path, checkout: Path) -> None:
    with other_daemon(tmp_path, checkout) as first:
        (tmp_path / ".lock").unlink()
        with pytest.raises(HomeTaken, match=f"the fluxgymd with pid {first.pid}"):
            owner_of(tmp_path).take()


def test_promise_4_without_locks_only_one_of_four_simultaneous_daemons_gets_the_home(
    tmp_path: Path, checkout: Path
) -> None:
    racers = [start_owner(tmp_path, checkout, locks=False, program=RACER + OWNER) for _ in range(4)]
    # Everyone has looked before anyone has written, and everyone has written before anyone looks again.
    assert [told(racer) for racer in racers] == ["has looked"] * 4
    assert [ask(racer, "write") for racer in racers] == ["has written"] * 4
    outcomes = [ask(racer, "look again") for racer in racers]
    assert outcomes.count("taken") == 1, outcomes
    winner = racers[outcomes.index("taken")]
    assert record(tmp_path).pid == winner.pid
    for racer in racers:
        racer.communicate(timeout=DEADLINE_SECONDS)
    assert sorted(racer.returncode for racer in racers) == [0, 4, 4, 4]


@pytest.mark.parametrize("place", [AFTER_REBOOT, msgspec.structs.replace(PLACE, pid_namespace="pid:[1]"), ELSEWHERE])
def test_promise_4_without_locks_another_boot_or_container_may_be_another_machine(
    tmp_path: Path, checkout: Path, place: Place
) -> None:
    """Images contain machine-ids too, so two machines may have the same one."""
    leave_record(tmp_path, place, age=EXPIRY_SECONDS / 2)
    with start_owner(tmp_path, checkout, locks=False) as refused:
        assert "on another machine or in another container" in told(refused)
    leave_record(tmp_path, place, age=EXPIRY_SECONDS * 2)
    with other_daemon(tmp_path, checkout, locks=False):
        pass


@pytest.mark.parametrize("renewed_at", [0.0, 4e9])
def test_promise_4_a_wrong_clock_does_not_give_a_live_home_away(tmp_path: Path, renewed_at: float) -> None:
    """One of the two machines has a wrong clock; the volume takes all timestamps of files from one clock."""
    left = OwnerRecord(pid=77, socket="/far.sock", place=ELSEWHERE, renewed_at=renewed_at)
    (tmp_path / "owner.json").write_bytes(msgspec.json.encode(left))
    with pytest.raises(HomeTaken):
        owner_of(tmp_path).take()


# --- an owner that has lost its home


def test_promise_4_an_owner_whose_home_was_taken_does_not_take_it_back(tmp_path: Path) -> None:
    owner = owner_of(tmp_path)
    owner.take()
    assert owner.problem() is None
    leave_record(tmp_path, ELSEWHERE, age=0)
    other = (tmp_path / "owner.json").read_bytes()
    for _ in range(2):
        with pytest.raises(HomeTaken, match=r"the fluxgymd with pid 77 and socket /far\.sock on another machine"):
            owner.renew()
    assert "pid 77" in str(owner.problem())
    owner.release()
    assert (tmp_path / "owner.json").read_bytes() == other


def test_promise_4_without_locks_a_missing_record_means_that_another_came_and_left(
    tmp_path: Path, checkout: Path
) -> None:
    with other_daemon(tmp_path, checkout, locks=False) as first:
        assert ask(first, "renew") == "done"
        (tmp_path / "owner.json").unlink()
        assert "is owned by another fluxgymd" in ask(first, "renew")
        assert not (tmp_path / "owner.json").exists()


def test_with_a_lock_a_missing_record_was_deleted_by_hand(tmp_path: Path, checkout: Path) -> None:
    with other_daemon(tmp_path, checkout) as first:
        (tmp_path / "owner.json").unlink()
        assert ask(first, "renew") == "done"
        assert record(tmp_path).pid == first.pid


def test_promise_4_an_owner_that_could_not_renew_is_in_doubt_until_it_did(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A laptop was asleep, or a volume did not answer: another machine may be taking the home at this moment."""
    owner = owner_of(tmp_path)
    owner.take()
    now = owners._now()
    monkeypatch.setattr(owners, "_now", lambda: now + DOUBT_SECONDS * 2)
    assert owner.problem() == IN_DOUBT
    slept: list[float] = []
    monkeypatch.setattr(time, "sleep", slept.append)
    owner.renew()
    assert owner.problem() is None
    assert slept == [0.0], "it looks once more, for one that was between its look and its record"
    monkeypatch.setattr(owners, "_now", lambda: now + DOUBT_SECONDS * 4)
    monkeypatch.setattr(time, "sleep", lambda _: leave_record(tmp_path, ELSEWHERE, age=0))
    with pytest.raises(HomeTaken):
        owner.renew()
    owner.release()
    assert record(tmp_path).pid == 77
