# SPDX-License-Identifier: Apache-2.0
"""Tests of what is seen of real processes: whether they compute, move bytes, wait in the kernel, or are stopped or
frozen."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from fluxgymd.attempts import processes
from fluxgymd.core.journal.records import Process, Ticks
from fluxgymd.core.watchdog.observation import Activity
from fluxgymd.watchdog.activity import ActivityReader, Total, Used, memory_pressure
from tests.attempts.daemons import Attempt, Daemon
from tests.harness.user_manager import UserManager
from tests.harness.waiting import until
from tests.watchdog.processes import (
    SLEEPS,
    SPINS,
    TALKS,
    THREADS,
    WAITS_FOR_ITS_CHILD,
    maps,
    reads,
    running,
    writes,
)


def look(*members: Process, reader: ActivityReader | None = None) -> Activity:
    return (reader or ActivityReader()).look(members, trainer=members[0] if members else None, group=None)


def cpu(activity: Activity) -> float:
    assert activity.cpu_seconds is not None
    return activity.cpu_seconds


def io(activity: Activity) -> int:
    assert activity.io_bytes is not None
    return activity.io_bytes


def test_a_process_that_computes_uses_the_processor_and_moves_no_bytes() -> None:
    with running(SPINS) as process:
        until(lambda: cpu(look(process)) > 0.5, what="processor time")
        before = look(process)
        until(lambda: cpu(look(process)) > cpu(before) + 0.2, what="more of it")
        assert io(look(process)) == io(before)
        assert not before.stopped
        assert before.threads == 1
        assert before.memory is not None
        assert before.memory > 1_000_000


def test_a_sleeping_process_uses_nothing() -> None:
    with running(SLEEPS) as process:
        until(lambda: psutil.Process(process.pid).status() == psutil.STATUS_SLEEPING, what="it to sleep")
        first = look(process)
        for _ in range(200):
            last = look(process)
        assert (cpu(last), io(last)) == (cpu(first), io(first))
        assert (last.blocked_threads, last.stopped, last.frozen) == (0, False, False)


@pytest.mark.parametrize("does", [reads, writes, maps])
def test_a_process_that_reads_or_writes_a_file_moves_bytes(does: Callable[[Path], str], tmp_path: Path) -> None:
    """A file in the page cache counts too, although no device transfers a byte of it."""
    file = tmp_path / "model.safetensors"
    file.write_bytes(bytes(8 << 20))
    with file.open("rb") as synced:
        os.fsync(synced.fileno())  # so that its pages can be dropped
    reader = ActivityReader()
    with running(does(file)) as process:
        before = look(process, reader=reader)
        until(lambda: io(look(process, reader=reader)) > io(before) + 10_000_000, what="bytes")


def test_page_waits_count_even_if_no_storage_is_known_to_serve_them(tmp_path: Path) -> None:
    """On FUSE, for example, the kernel counts only the time that a process waits for pages."""
    file = tmp_path / "model.safetensors"
    file.write_bytes(bytes(8 << 20))
    with file.open("rb") as synced:
        os.fsync(synced.fileno())
    with running(maps(file)) as process:
        until(lambda: io(look(process)) > 10_000_000, what="pages")
        os.kill(process.pid, signal.SIGSTOP)
        until(lambda: look(process).stopped, what="it to be stopped")
        storage = psutil.Process(process.pid).io_counters()
        assert io(look(process)) > storage.read_bytes + storage.write_bytes


def test_promise_7_system_calls_that_move_nothing_are_not_io() -> None:
    reader = ActivityReader()
    with running(TALKS) as process:
        before = look(process, reader=reader)
        calls = psutil.Process(process.pid).io_counters().read_chars
        until(lambda: psutil.Process(process.pid).io_counters().read_chars > calls + 100_000_000, what="its calls")
        assert io(look(process, reader=reader)) - io(before) < 1_000_000


def test_threads_are_counted() -> None:
    with running(THREADS) as process:
        until(lambda: look(process).threads == 4, what="its threads")


def test_a_stopped_trainer_is_detected_and_another_member_is_not_the_trainer() -> None:
    with running(SPINS) as trainer, running(SPINS) as other:
        reader = ActivityReader()
        os.kill(other.pid, signal.SIGSTOP)
        until(lambda: look(other).stopped, what="it to be stopped")
        assert not look(trainer, other, reader=reader).stopped
        os.kill(trainer.pid, signal.SIGSTOP)
        until(lambda: look(trainer, other, reader=reader).stopped, what="the trainer to be stopped")
        os.kill(trainer.pid, signal.SIGCONT)
        until(lambda: not look(trainer, other, reader=reader).stopped, what="it to go on")


def test_a_thread_in_state_d_is_reported_with_where_it_waits() -> None:
    with running(WAITS_FOR_ITS_CHILD) as process:
        until(lambda: look(process).blocked_threads == 1, what="it to wait in the kernel")
        where = Path(f"/proc/{process.pid}/wchan").read_text()
        assert look(process).blocked_in == (where if where != "0" else None), "not every kernel tells"


def test_usage_of_an_ended_process_stays_counted() -> None:
    reader = ActivityReader()
    with running(SLEEPS) as trainer:
        with running(SPINS) as helper:
            until(lambda: cpu(look(trainer, helper, reader=reader)) > 0.3, what="processor time")
            both = look(trainer, helper, reader=reader)
        alone = look(trainer, helper, reader=reader)
        assert cpu(alone) >= cpu(both)
        assert cpu(look(trainer, reader=reader)) >= cpu(both)
        assert alone.threads == 1


def test_nothing_is_known_about_processes_that_are_gone() -> None:
    with running(SLEEPS) as process:
        pass
    gone = look(process)
    assert (gone.cpu_seconds, gone.io_bytes, gone.threads, gone.stopped) == (None, None, 0, False)
    nobody = ActivityReader().look([], trainer=None, group=None)
    assert (nobody.cpu_seconds, nobody.io_bytes) == (None, None)


def test_promise_6_a_process_that_took_the_pid_is_not_counted() -> None:
    with running(SPINS) as process:
        until(lambda: cpu(look(process)) > 0.1, what="processor time")
        stranger = Process(pid=process.pid, start=Ticks(process.start + 1))
        assert look(stranger).cpu_seconds is None


class TestTotal:
    A, B = Process(pid=1, start=Ticks(1)), Process(pid=2, start=Ticks(1))

    def test_the_sum_only_grows(self) -> None:
        total = Total()
        one = Used(cpu_seconds=1.0, io_bytes=10)
        assert total.after({self.A: one, self.B: Used(cpu_seconds=5.0, io_bytes=50)}) == Used(
            cpu_seconds=6.0, io_bytes=60
        )
        assert total.after({self.A: one}) == Used(cpu_seconds=6.0, io_bytes=60)
        assert total.after({self.A: Used(cpu_seconds=0.5, io_bytes=11)}) == Used(cpu_seconds=6.0, io_bytes=61)
        assert total.after({}) == Used(cpu_seconds=6.0, io_bytes=61)

    def test_a_process_that_cannot_be_read_once_is_not_counted_twice(self) -> None:
        total = Total()
        one = Used(cpu_seconds=1.0, io_bytes=10)
        total.after({self.A: one})
        assert total.after({self.A: None}) == one
        assert total.after({self.A: one}) == one

    def test_an_unreported_value_is_unknown_and_not_zero(self) -> None:
        assert Total().after({self.A: Used(cpu_seconds=1.0, io_bytes=None)}) == Used(cpu_seconds=1.0, io_bytes=None)
        assert Total().after({}) == Used(cpu_seconds=None, io_bytes=None)


@pytest.mark.systemd
class TestScope:
    """Tests in a real scope. The test sees the scope's processes and cgroups under other names, as the host does."""

    @pytest.fixture
    def kind(self) -> str:
        return "scope"

    @staticmethod
    def group(manager: UserManager, attempt: Attempt) -> str:
        """Returns the name of the attempt's cgroup as this process sees it."""
        folder = manager.namespace.group / attempt.ref["placement"]["cgroup"].lstrip("/")
        pid = int((folder / "cgroup.procs").read_text().split()[0])
        name = processes.group_of(pid)
        assert name is not None
        return name

    def test_processor_time_is_that_of_its_cgroup_including_processes_nobody_saw(
        self, manager: UserManager, daemon: Daemon
    ) -> None:
        attempt = daemon.start("echo ready; while :; do :; done")
        attempt.wait_for_line("ready")
        group = self.group(manager, attempt)
        reader = ActivityReader()

        def seen() -> Activity:
            return reader.look([], trainer=None, group=group)

        until(lambda: cpu(seen()) > 0.3, what="processor time")
        assert not seen().frozen
        daemon.ask("kill", ref=attempt.ref)
        daemon.conclusion(attempt, "Exited")
        until(lambda: seen().cpu_seconds is None, what="systemd to remove the cgroup")

    def test_a_frozen_cgroup_is_detected(self, manager: UserManager, daemon: Daemon) -> None:
        attempt = daemon.start("echo ready; while :; do :; done")
        attempt.wait_for_line("ready")
        group = self.group(manager, attempt)
        folder = manager.namespace.group / attempt.ref["placement"]["cgroup"].lstrip("/")

        def frozen() -> bool:
            return ActivityReader().look([], trainer=None, group=group).frozen

        assert not frozen()
        (folder / "cgroup.freeze").write_text("1")
        until(frozen, what="it to be frozen")
        (folder / "cgroup.freeze").write_text("0")
        until(lambda: not frozen(), what="it to be thawed")

    def test_memory_pressure_is_that_of_its_cgroup(self, manager: UserManager, daemon: Daemon) -> None:
        attempt = daemon.start("echo ready; while :; do :; done")
        attempt.wait_for_line("ready")
        group = self.group(manager, attempt)
        told = (manager.namespace.group / attempt.ref["placement"]["cgroup"].lstrip("/") / "memory.pressure").exists()
        assert memory_pressure(group, None) == (0.0 if told else None)
        assert memory_pressure("/no/such/group", None) is None


def test_without_its_own_cgroup_the_pressure_is_that_of_the_trainers() -> None:
    with running(SLEEPS) as trainer:
        group = processes.group_of(trainer.pid)
        assert memory_pressure(None, trainer) == memory_pressure(group, None)
    assert memory_pressure(None, None) is None
