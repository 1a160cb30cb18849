# SPDX-License-Identifier: Apache-2.0
"""A disk that is full, or that refuses, under a running job: the daemon goes on, says so, and loses nothing."""

import signal
from pathlib import Path

import pytest

from fluxgym import methods as m
from fluxgym.errors import NotEnoughSpace, StorageFailed, WrongState
from fluxgym.messages import Context, ExitKind, Job, Kind, State
from fluxgymd.failpoints import VARIABLE
from fluxgymd.store import journal
from fluxgymd.store.home import JOURNAL
from tests.crash.material import short
from tests.daemon.running import RunningDaemon
from tests.harness.user_manager import UserManager
from tests.harness.waiting import until
from tests.store.small_disk import PAGE, fill

PROCESS = ("--supervisor", "process")
DISK_BYTES = 64 * 1024 * 1024


class OnSmallDisk(RunningDaemon):
    """A daemon whose home is a disk of its own: it is mounted where only the daemon and its jobs live."""

    def __init__(self, folder: Path, manager: UserManager) -> None:
        super().__init__(
            folder,
            popen=lambda command, env: manager.popen(command, env=env),
            arguments=("--supervisor", "process"),
        )
        self._manager = manager
        self.home.mkdir()
        manager.run(["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES},mode=700", "fluxgym-test", self.home])
        self.disk = manager.namespace.path(self.home)

    def folder(self, name: str) -> Path:
        return self.disk / "outputs" / name

    def runs(self, pid: int) -> bool:
        return self._manager.namespace.path(f"/proc/{pid}").exists()

    def kill_process(self, pid: int) -> None:
        self._manager.run(["kill", "-KILL", str(pid)])


def trainer_of(job: Job) -> int:
    assert job.runtime.attempt is not None
    assert job.runtime.attempt.pid is not None
    return job.runtime.attempt.pid


def exit_of(job: Job) -> tuple[ExitKind, int | None]:
    assert job.runtime.attempt is not None
    assert job.runtime.attempt.exit is not None
    return job.runtime.attempt.exit.kind, job.runtime.attempt.exit.signal


def stop(daemon: RunningDaemon) -> None:
    daemon.call(m.STOP, m.STOP.parameters(name="my-lora"))


def is_degraded(daemon: RunningDaemon) -> bool:
    return any("refuses writes" in reason for reason in daemon.info().degraded)


@pytest.mark.systemd
def test_promises_2_and_3_a_full_disk_under_a_running_job_loses_nothing(
    user_manager: UserManager, folder: Path, model: Path
) -> None:
    with OnSmallDisk(folder, user_manager) as daemon:
        daemon.submit(endless("my-lora", model, prompt="x" * (PAGE - 19 - journal_size(daemon, model))))
        trainer = trainer_of(daemon.wait_for_step("my-lora", 1))
        before = daemon.events("my-lora")
        hog = fill(daemon.disk)

        with pytest.raises(StorageFailed):
            stop(daemon)
        assert is_degraded(daemon)
        with pytest.raises((StorageFailed, NotEnoughSpace)):
            daemon.submit(short("another", model))
        assert [job.context.name for job in daemon.jobs()] == ["my-lora"]
        assert daemon.job("my-lora").runtime.state is State.RUNNING, "a refused stop has changed something"

        # It ends now: neither the shim nor the daemon can write that down, and both wait. A daemon can start, too.
        daemon.kill_process(trainer)
        until(lambda: not daemon.runs(trainer), what="the trainer to be gone")
        daemon.kill()
        daemon.start()
        assert daemon.job("my-lora").runtime.state is State.RUNNING
        assert not (daemon.folder("my-lora") / "attempts" / "001" / "exit.json").exists()

        hog.unlink()
        assert exit_of(daemon.wait("my-lora", State.FAILED)) == (ExitKind.SIGNALED, signal.SIGKILL)
        assert daemon.events("my-lora")[: len(before)] == before
        daemon.submit(short("another", model))
        daemon.wait("another", State.RUNNING)
        assert not is_degraded(daemon)


def endless(name: str, model: Path, *, prompt: str) -> Context:
    """It saves and samples nothing while the test runs: on a full disk that would be a failure of its own."""
    return short(name, model, epochs=1000, save_every_epochs=1000, sample_prompts=[prompt], sample_every_epochs=1000)


def journal_size(daemon: RunningDaemon, model: Path) -> int:
    """How long a journal is when its training runs: the last page of a file has room on a full disk too, so the
    record that is to be refused must not fit in."""
    daemon.submit(endless("my-lora", model, prompt="x"))
    daemon.wait("my-lora", State.RUNNING)
    size = (daemon.folder("my-lora") / JOURNAL).stat().st_size
    stop(daemon)
    daemon.wait("my-lora", State.STOPPED)
    until(lambda: removed(daemon), what="the job to be removed")
    return size


def removed(daemon: RunningDaemon) -> bool:
    """False while its end is still being noted down."""
    try:
        daemon.call(m.REMOVE, m.JobName(name="my-lora"))
    except WrongState:
        return False
    return True


STARTED = len(("reserved", "spawned", "placed", "started"))


def test_promise_3_a_journal_that_is_refused_by_the_disk_goes_on_where_it_was(folder: Path, model: Path) -> None:
    """EIO: after the write and before the fsync, which leaves a record that does not count; then before the write."""
    rules = f"journal.written=error:EIO:{STARTED + 1}-{STARTED + 2},journal.opened=error:EIO:{STARTED + 4}"
    with RunningDaemon(folder, arguments=("--supervisor", "process"), env={VARIABLE: rules}) as daemon:
        daemon.submit(short("my-lora", model, epochs=1000))
        daemon.wait_for_step("my-lora", 1)
        for _ in range(2):
            with pytest.raises(StorageFailed):
                stop(daemon)
            assert is_degraded(daemon)
            assert daemon.job("my-lora").runtime.state is State.RUNNING
        stop(daemon)
        assert not is_degraded(daemon)
        until(lambda: is_degraded(daemon), what="the end of the attempt to be refused")
        assert daemon.job("my-lora").runtime.state is State.STOPPING, (
            "its lease was given away before its end is kept"
        )
        daemon.wait("my-lora", State.STOPPED)
        assert not is_degraded(daemon)

        path = daemon.folder("my-lora") / JOURNAL
        assert journal.read(path).problem is None
        asked = [event["event"] for event in daemon.events("my-lora")]
        assert asked == ["submitted", "reserved", "spawned", "placed", "started", "stop_asked", "ended"]
        assert list(path.parent.glob(f"{JOURNAL}.torn-*")) == [], "what was refused was not taken back at once"


DENIED = "journal.written=error:EIO:1,journal.tail_goes=error:EIO"
"""The first append is written and its fsync fails; so does each cut, if nothing else is said."""


def program(name: str) -> Context:
    return Context(name=name, kind=Kind.PROGRAM, program=["/bin/sh", "-c", """echo '{"files": []}' > result.json"""])


def kinds(daemon: RunningDaemon) -> list[str]:
    """All but "started": a program that ends at once may not have been seen."""
    return [event["event"] for event in daemon.events("my-job") if event["event"] != "started"]


def wait_for_doubt(daemon: RunningDaemon) -> None:
    until(lambda: any("in doubt: my-job" in reason for reason in daemon.info().degraded), what="the doubt")


WHOLE_LIFE = ["submitted", "reserved", "spawned", "placed", "ended"]


def test_promises_3_and_4_nothing_is_started_of_a_job_while_its_journal_is_in_doubt(folder: Path) -> None:
    with RunningDaemon(folder, arguments=PROCESS, env={VARIABLE: f"{DENIED}:1"}) as daemon:
        daemon.submit(program("my-job"))
        wait_for_doubt(daemon)
        daemon.wait("my-job", State.COMPLETED)
        assert daemon.info().degraded == []
        assert kinds(daemon) == WHOLE_LIFE


def test_promises_3_and_4_a_restart_meets_the_reservation_that_was_denied_and_goes_on(folder: Path) -> None:
    with RunningDaemon(folder, arguments=PROCESS, env={VARIABLE: DENIED}) as daemon:
        daemon.submit(program("my-job"))
        wait_for_doubt(daemon)
        assert daemon.job("my-job").runtime.state is State.QUEUED
        assert kinds(daemon) == ["submitted", "reserved"]
        daemon.kill()
        del daemon.environment[VARIABLE]
        daemon.start()
        daemon.wait("my-job", State.COMPLETED)
        assert kinds(daemon) == ["submitted", "reserved", "ended", *WHOLE_LIFE[1:]]
