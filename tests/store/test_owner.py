# SPDX-License-Identifier: Apache-2.0
"""One daemon owns one home: against a real second process, and against the record of another machine."""

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pytest

from fluxgymd.core.records import Place
from fluxgymd.store.owner import EXPIRY_SECONDS, HomeTaken, OwnerRecord, Ownership
from tests.core.histories import PLACE

ELSEWHERE = msgspec.structs.replace(PLACE, machine_id="e" * 32)
AFTER_REBOOT = msgspec.structs.replace(PLACE, boot_id="a" * 32)

OWNER = """
import sys
from pathlib import Path
from fluxgymd.store.owner import Ownership
from tests.core.histories import PLACE
owner = Ownership(Path(sys.argv[1]), PLACE, Path("/first.sock"))
owner.take()
print("taken", flush=True)
if sys.stdin.readline():
    owner.release()
    print("released", flush=True)
    sys.stdin.readline()
"""


@contextmanager
def other_daemon(home: Path, checkout: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that owns the home; a line on its stdin makes it release."""
    process = subprocess.Popen(
        [sys.executable, "-c", OWNER, home], cwd=checkout, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == "taken\n"
        try:
            yield process
        finally:
            process.kill()


def owner_of(home: Path, place: Place = PLACE) -> Ownership:
    return Ownership(home, place, Path("/second.sock"))


def record(home: Path) -> OwnerRecord:
    return msgspec.json.decode((home / "owner.json").read_bytes(), type=OwnerRecord)


def leave_record(home: Path, place: Place, *, age: float) -> None:
    left = OwnerRecord(pid=77, socket="/far.sock", place=place, renewed_at=time.time() - age)
    (home / "owner.json").write_bytes(msgspec.json.encode(left))


def test_promise_4_a_second_daemon_is_refused_and_told_by_whom(tmp_path: Path, checkout: Path) -> None:
    with other_daemon(tmp_path, checkout) as first:
        before = (tmp_path / "owner.json").read_bytes()
        with pytest.raises(HomeTaken) as refusal:
            owner_of(tmp_path).take()
        assert refusal.value.message == (
            f"The home {tmp_path} is owned by the fluxgymd with pid {first.pid} and socket /first.sock; "
            "stop it first, or give this one another --home."
        )
        assert refusal.value.exit_status == 4
        assert (tmp_path / "owner.json").read_bytes() == before


def test_a_daemon_that_was_killed_owns_nothing(tmp_path: Path, checkout: Path) -> None:
    with other_daemon(tmp_path, checkout) as first:
        first.kill()
        first.wait()
        assert record(tmp_path).pid == first.pid  # it could not clean up
        owner = owner_of(tmp_path)
        owner.take()
        assert record(tmp_path).socket == "/second.sock"
        owner.release()


def test_a_home_that_was_released_can_be_taken_at_once(tmp_path: Path, checkout: Path) -> None:
    with other_daemon(tmp_path, checkout) as first:
        assert first.stdin is not None
        assert first.stdout is not None
        first.stdin.write("release\n")
        first.stdin.flush()
        assert first.stdout.readline() == "released\n"
        assert not (tmp_path / "owner.json").exists()
        owner = owner_of(tmp_path)
        owner.take()
        owner.release()


def test_a_locked_home_without_a_record_is_refused_all_the_same(tmp_path: Path, checkout: Path) -> None:
    with other_daemon(tmp_path, checkout):
        (tmp_path / "owner.json").unlink()
        with pytest.raises(HomeTaken, match="is owned by another fluxgymd; stop it first"):
            owner_of(tmp_path).take()


def test_a_home_that_another_machine_renewed_lately_is_refused(tmp_path: Path) -> None:
    leave_record(tmp_path, ELSEWHERE, age=EXPIRY_SECONDS / 2)
    with pytest.raises(HomeTaken, match=r"the fluxgymd with pid 77 and socket /far\.sock"):
        owner_of(tmp_path).take()
    # The refused one holds no lock: the machine that owns it is not kept out.
    (tmp_path / "owner.json").unlink()
    owner = owner_of(tmp_path)
    owner.take()
    owner.release()


def test_promise_4_without_a_machine_id_another_boot_may_be_another_machine(tmp_path: Path) -> None:
    """Two pods of one image, with the home on a volume whose locks do not reach from one to the other."""
    nameless = msgspec.structs.replace(PLACE, machine_id="")
    leave_record(tmp_path, msgspec.structs.replace(nameless, boot_id="a" * 32), age=EXPIRY_SECONDS / 2)
    with pytest.raises(HomeTaken):
        owner_of(tmp_path, nameless).take()
    leave_record(tmp_path, nameless, age=0)  # this boot: the lock knows better
    owner = owner_of(tmp_path, nameless)
    owner.take()
    owner.release()


@pytest.mark.parametrize(
    ("place", "age"),
    [
        (ELSEWHERE, EXPIRY_SECONDS * 2),  # another machine that is gone
        (PLACE, 0),  # this machine: the lock knows better
        (AFTER_REBOOT, 0),
    ],
)
def test_a_record_that_proves_nothing_is_written_over(tmp_path: Path, place: Place, age: float) -> None:
    leave_record(tmp_path, place, age=age)
    owner = owner_of(tmp_path)
    owner.take()
    assert record(tmp_path).socket == "/second.sock"
    owner.release()


@pytest.mark.parametrize("content", [b"", b"\0\0", b'{"pid":"x"}', b'{"\xff":1}', b"[" * 100_000])
def test_a_torn_record_keeps_nobody_out(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "owner.json").write_bytes(content)
    owner = owner_of(tmp_path)
    owner.take()
    owner.release()


def test_a_renewed_record_is_newer(tmp_path: Path) -> None:
    owner = owner_of(tmp_path)
    owner.take()
    first = record(tmp_path)
    owner.renew()
    second = record(tmp_path)
    owner.release()
    assert second.renewed_at > first.renewed_at
    assert msgspec.structs.replace(second, renewed_at=first.renewed_at) == first


def test_what_was_never_taken_is_not_released(tmp_path: Path) -> None:
    leave_record(tmp_path, ELSEWHERE, age=0)
    owner_of(tmp_path).release()
    assert (tmp_path / "owner.json").exists()
