# SPDX-License-Identifier: Apache-2.0
"""A disk is full or refuses writes under a running job: the daemon keeps running, reports it, and loses nothing."""

import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from fluxgym.errors import NotEnoughSpace, StorageFailed
from fluxgym.protocol import methods as m
from fluxgym.protocol.messages import Context, ExitKind, FailureKind, Job, RestartPolicy, State
from fluxgymd.failpoints import VARIABLE
from fluxgymd.store import journal
from fluxgymd.store.home import JOURNAL
from tests.crash.material import short
from tests.daemon.running import TRAINING_SECONDS, RunningDaemon, program
from tests.harness.user_manager import UserManager
from tests.harness.waiting import until
from tests.store.small_disk import PAGE, fill

PROCESS = ("--supervisor", "process")
DISK_BYTES = 64 * 1024 * 1024


class OnSmallDisk(RunningDaemon):
    """A daemon whose home is a disk of its own, mounted only in the namespace of the daemon and its jobs."""

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

    def processor_seconds(self, pid: int) -> float:
        """The processor time of a process in the namespace, from its /proc (proc(5), stat: fields 14 and 15)."""
        fields = self._manager.namespace.path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def signal_process(self, pid: int, number: signal.Signals) -> None:
        self._manager.send_signal(pid, number)

    def refuse(self, state: str) -> Callable[[], object]:
        """Makes the disk full or read-only; returns a function that undoes it."""
        if state == "full":
            return fill(self.disk).unlink
        # Bind-mounted over itself, because a mount with files open for writing cannot become read-only.
        self._manager.run(["mount", "--bind", self.home, self.home])
        self._manager.run(["mount", "-o", "remount,bind,ro", self.home])
        return lambda: self._manager.run(["umount", self.home])


def trainer_of(job: Job) -> int:
    assert job.runtime.attempt is not None
    assert job.runtime.attempt.pid is not None
    return job.runtime.attempt.pid


def exit_of(job: Job) -> tuple[ExitKind, int | None]:
    assert job.runtime.attempt is not None
    assert job.runtime.attempt.exit is not None
    return job.runtime.attempt.exit.kind, job.runtime.attempt.exit.signal


def stop(daemon: RunningDaemon, *, after_checkpoint: bool = False) -> Job:
    job = daemon.call(m.STOP, m.StopParameters(name="my-lora", after_checkpoint=after_checkpoint)).job
    assert isinstance(job, Job)
    return job


def is_degraded(daemon: RunningDaemon) -> bool:
    return any("refuses writes" in reason for reason in daemon.info().degraded)


@pytest.mark.systemd
def test_promises_2_and_3_a_full_disk_under_a_running_job_loses_nothing(
    user_manager: UserManager, folder: Path, model: Path
) -> None:
    with OnSmallDisk(folder, user_manager) as daemon:
        daemon.submit(endless("my-lora", model, prompt="x" * (PAGE - 30 - journal_size(daemon, model))))
        trainer = trainer_of(daemon.wait_for_step("my-lora", 1))
        before = daemon.events("my-lora")
        hog = fill(daemon.disk)

        with pytest.raises(StorageFailed):
            stop(daemon, after_checkpoint=True)
        assert is_degraded(daemon)
        with pytest.raises((StorageFailed, NotEnoughSpace)):
            daemon.submit(short("another", model))
        assert [job.context.name for job in daemon.jobs()] == ["my-lora"]
        assert daemon.job("my-lora").runtime.state is State.RUNNING, "a refused stop has changed something"

        # The trainer ends while no daemon runs, and its shim has enough room to record that. Another program then
        # takes the rest, including what the next daemon would free by deleting monitor.pid, so the end cannot be
        # recorded. That daemon starts all the same, and the last one's entry in owner.json doesn't make it give up
        # the home.
        daemon.kill()
        daemon.signal_process(trainer, signal.SIGKILL)
        (shim,) = [event["shim"]["pid"] for event in before if event["event"] == "spawned"]
        until(lambda: not daemon.runs(shim), what="the shim to leave")
        assert (daemon.folder("my-lora") / "attempts" / "001" / "exit.json").exists()
        (daemon.folder("my-lora") / "monitor.pid").unlink()
        fill(daemon.disk)
        daemon.start()
        until(lambda: "its end could not be recorded" in daemon.log.read_text(), what="the end to be refused")
        until(lambda: "owner.json could not be renewed" in daemon.log.read_text(), what="the record to be refused")
        assert daemon.job("my-lora").runtime.state is State.RUNNING

        hog.unlink()
        assert exit_of(daemon.wait("my-lora", State.FAILED)) == (ExitKind.SIGNALED, signal.SIGKILL)
        assert daemon.events("my-lora")[: len(before)] == before
        daemon.submit(short("another", model))
        daemon.wait("another", State.RUNNING)
        assert not is_degraded(daemon)


@pytest.mark.systemd
def test_promise_2_a_trainer_on_a_full_disk_continues_and_ends_for_its_own_reason(
    user_manager: UserManager, folder: Path, model: Path
) -> None:
    """Full to the last byte: there is no room for the log, for progress or for a checkpoint."""
    with OnSmallDisk(folder, user_manager) as daemon:
        daemon.submit(short("my-lora", model, epochs=1000, save_every_epochs=5, restart=RestartPolicy.NEVER))
        daemon.wait_for_step("my-lora", 1)
        hog = fill(daemon.disk)
        record = daemon.folder("my-lora") / "attempts" / "001" / "exit.json"
        until(record.exists, what="the first checkpoint to fail", deadline_seconds=TRAINING_SECONDS)
        hog.unlink()
        job = daemon.wait("my-lora", State.FAILED)
        assert exit_of(job) == (ExitKind.EXITED, None)
        assert job.runtime.failure is not None
        assert job.runtime.failure.kind is FailureKind.DISK_FULL
        assert "exited with status 1: error: " in (job.runtime.reason or "")
        assert "could not be saved" in (job.runtime.reason or "")
        assert "shim" not in daemon.training_log("my-lora")


@pytest.mark.systemd
def test_a_trainer_continues_when_a_full_disk_has_room_again(
    user_manager: UserManager, folder: Path, model: Path
) -> None:
    with OnSmallDisk(folder, user_manager) as daemon:
        daemon.submit(endless("my-lora", model, prompt="x"))
        trainer = trainer_of(daemon.wait_for_step("my-lora", 1))
        hog = fill(daemon.disk)
        metrics = daemon.folder("my-lora") / "metrics.jsonl"
        full_at = daemon.processor_seconds(trainer)
        until(lambda: daemon.processor_seconds(trainer) > full_at + 3, what="it to train without any room")
        size = metrics.stat().st_size
        hog.unlink()
        until(lambda: metrics.stat().st_size > size, what="progress to be told again")
        log = daemon.training_log("my-lora")
        assert "cannot write progress to FLUXGYM_METRICS" in log, "it did not meet the full disk"
        assert daemon.job("my-lora").runtime.state is State.RUNNING


@pytest.mark.systemd
@pytest.mark.parametrize("state", ["full", "read-only"])
def test_a_running_job_can_be_stopped_on_a_disk_that_refuses_the_record(
    user_manager: UserManager, folder: Path, model: Path, state: str
) -> None:
    with OnSmallDisk(folder, user_manager) as daemon:
        daemon.submit(endless("my-lora", model, prompt="x" * (PAGE - 30 - journal_size(daemon, model))))
        trainer = trainer_of(daemon.wait_for_step("my-lora", 1))
        give_back = daemon.refuse(state)
        job = stop(daemon)
        assert job.runtime.state is State.STOPPING
        assert (job.runtime.reason or "").startswith("It is being stopped, but the disk refused the record: The disk")
        until(lambda: not daemon.runs(trainer), what="the trainer to be gone", deadline_seconds=TRAINING_SECONDS)
        # Its end is true only once it is recorded: on a full disk that may be at once, in the room that the shim did
        # not need and has given back.
        if daemon.job("my-lora").runtime.state is not State.STOPPING:
            assert (state, daemon.events("my-lora")[-1]["event"]) == ("full", "ended")
        give_back()
        job = daemon.wait("my-lora", State.STOPPED)
        assert (job.runtime.reason or "").startswith("It was stopped by the user at step ")
        assert job.runtime.attempt is not None
        assert job.runtime.attempt.number == 1, "it was resumed"


@pytest.mark.systemd
def test_a_refused_stop_is_recorded_as_soon_as_there_is_room(
    user_manager: UserManager, folder: Path, model: Path
) -> None:
    with OnSmallDisk(folder, user_manager) as daemon:
        daemon.submit(endless("my-lora", model, prompt="x" * (PAGE - 30 - journal_size(daemon, model))))
        trainer = trainer_of(daemon.wait_for_step("my-lora", 1))
        give_back = daemon.refuse("full")
        daemon.signal_process(trainer, signal.SIGSTOP)  # it does not end before this test lets it
        assert (stop(daemon).runtime.reason or "").startswith("It is being stopped, but")
        give_back()
        until(lambda: daemon.events("my-lora")[-1]["event"] == "stop_asked", what="the stop to be recorded")
        until(lambda: daemon.job("my-lora").runtime.reason is None, what="the reason to be taken back")
        daemon.signal_process(trainer, signal.SIGCONT)
        daemon.wait("my-lora", State.STOPPED)


@pytest.mark.systemd
def test_health_is_not_good_on_a_full_or_read_only_disk_even_if_nothing_is_written(
    user_manager: UserManager, folder: Path
) -> None:
    with OnSmallDisk(folder, user_manager) as daemon:
        assert daemon.info().degraded == []
        for state, words in (("full", "is full: 0 bytes are left"), ("read-only", "it is mounted read-only")):
            give_back = daemon.refuse(state)
            wait_for_health(daemon, words)
            give_back()
            wait_for_health(daemon, None)


def wait_for_health(daemon: RunningDaemon, words: str | None) -> None:
    """Waits until one of Health's sentences contains these words, or with None until Health is good."""

    def told() -> bool:
        found = daemon.info().degraded
        return not found if words is None else any(words in reason for reason in found)

    until(told, what=f"Health to say {words or 'good'}")


def endless(name: str, model: Path, *, prompt: str) -> Context:
    """A training that saves and samples nothing during the test, since that would itself fail on a full disk."""
    return short(name, model, epochs=1000, save_every_epochs=1000, sample_prompts=[prompt], sample_every_epochs=1000)


def journal_size(daemon: RunningDaemon, model: Path) -> int:
    """The size of a running training's journal. Even on a full disk a file can grow up to the end of its last page,
    so a test pads the journal until the record that is to be refused does not fit into that page."""
    daemon.submit(endless("my-lora", model, prompt="x"))
    daemon.wait("my-lora", State.RUNNING)
    size = (daemon.folder("my-lora") / JOURNAL).stat().st_size
    stop(daemon)
    daemon.wait("my-lora", State.STOPPED)
    daemon.remove("my-lora")
    return size


STARTED = len(("reserved", "spawned", "placed", "started"))


def test_promise_3_a_journal_that_the_disk_refused_continues_where_it_was(folder: Path, model: Path) -> None:
    """EIO between the write and the fsync, which leaves a record that does not count; then EIO before the write."""
    rules = f"journal.written=error:EIO:{STARTED + 1}-{STARTED + 2},journal.opened=error:EIO:{STARTED + 4}"
    with RunningDaemon(folder, arguments=("--supervisor", "process"), env={VARIABLE: rules}) as daemon:
        daemon.submit(short("my-lora", model, epochs=1000))
        daemon.wait_for_step("my-lora", 1)
        for _ in range(2):
            with pytest.raises(StorageFailed):
                stop(daemon, after_checkpoint=True)
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
"""The first append is written but its fsync fails; so does each cut of it, unless a test says otherwise."""


def kinds(daemon: RunningDaemon) -> list[str]:
    """The kinds of the job's events except "started", which may be missing if the program ended at once."""
    return [event["event"] for event in daemon.events("my-job") if event["event"] != "started"]


def wait_for_doubt(daemon: RunningDaemon) -> None:
    until(lambda: any("in doubt: my-job" in reason for reason in daemon.info().degraded), what="the doubt")


WHOLE_LIFE = ["submitted", "reserved", "spawned", "placed", "ended"]


def test_promises_3_and_4_no_job_starts_while_its_journal_is_in_doubt(folder: Path) -> None:
    with RunningDaemon(folder, arguments=PROCESS, env={VARIABLE: f"{DENIED}:1"}) as daemon:
        daemon.submit(program("my-job"))
        wait_for_doubt(daemon)
        daemon.wait("my-job", State.COMPLETED)
        assert daemon.info().degraded == []
        assert kinds(daemon) == WHOLE_LIFE


def test_promises_3_and_4_a_restart_finds_the_refused_reservation_and_continues(folder: Path) -> None:
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
