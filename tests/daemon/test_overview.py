# SPDX-License-Identifier: Apache-2.0
"""Machine.Watch of a real daemon: the GPUs, the queue and the disks in one object."""

import os
import signal
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

from fluxgym.protocol import machine_methods as mm
from fluxgym.protocol import methods as m
from fluxgym.protocol.client import Connection
from fluxgym.protocol.machine_messages import DiskUseKind, MachineState
from fluxgym.protocol.messages import State
from fluxgymctl.outcome import INTERRUPTED
from tests.daemon.running import RunningDaemon, program
from tests.fluxgymctl.program import ctl, started
from tests.gpus.nvml import Nvml, build, gpu
from tests.harness.hung_volume import HungVolume
from tests.harness.waiting import DEADLINE_SECONDS, until


def now(daemon: RunningDaemon, *, measure: bool = False) -> MachineState:
    """What a watcher sees at once."""
    with Connection(daemon.socket) as connection:
        reply = next(connection.stream(mm.WATCH_MACHINE, mm.WatchMachineParameters(measure=measure or None)))
        return reply.state


def seen(daemon: RunningDaemon, right: Callable[[MachineState], bool]) -> MachineState:
    def look() -> MachineState | None:
        state = now(daemon)
        return state if right(state) else None

    return until(look, what="the state of the machine to be right")


def measured(state: MachineState) -> bool:
    return bool(state.disks) and state.disks[0].measured_at is not None


def test_the_state_comes_at_once_and_again_when_the_queue_changes(daemon: RunningDaemon) -> None:
    with Connection(daemon.socket) as connection:
        states = (reply.state for reply in connection.stream(mm.WATCH_MACHINE, mm.WatchMachineParameters()))
        first = next(states)
        assert (first.queue_paused, first.waiting, first.running) == (False, 0, 0)
        daemon.call(mm.PAUSE, m.Nothing())
        daemon.submit(program("waits"))
        last = next(state for state in states if state.queue_paused and state.waiting)
        assert (last.waiting, last.running, last.instance) == (1, 0, daemon.info().instance)


def test_disks_report_what_fills_them_and_which_jobs_the_states_belong_to(daemon: RunningDaemon) -> None:
    daemon.submit(program("cat", "exit 3"))
    daemon.wait("cat", State.FAILED)
    state = daemon.folder("cat") / "cat-000001-state"
    state.mkdir()
    (state / "optimizer.bin").write_bytes(os.urandom(3_000_000))
    os.sync()
    now(daemon, measure=True)
    found = seen(daemon, lambda state: measured(state) and any(use.jobs for use in state.disks[0].uses))
    (disk, *_) = found.disks
    assert disk.path == str(daemon.home)
    assert 0 < disk.free <= disk.total
    (states,) = [use for use in disk.uses if use.what is DiskUseKind.STATES]
    assert [one.job for one in states.jobs or ()] == ["cat"]
    assert states.size >= 3_000_000
    shown = ctl("disks", socket=daemon.socket)
    assert (shown.returncode, shown.stderr) == (0, "")
    assert "cat 2.9 MiB" in shown.stdout


def test_each_disk_that_holds_a_part_of_the_home_is_listed(folder: Path) -> None:
    with tempfile.TemporaryDirectory(prefix="fg-", dir="/dev/shm") as elsewhere:
        compiled = Path(elsewhere) / "compiled"
        compiled.mkdir()
        (compiled / "kernel.so").write_bytes(os.urandom(2_000_000))
        with RunningDaemon(
            folder, arguments=("--supervisor", "process"), env={"TORCHINDUCTOR_CACHE_DIR": str(compiled)}
        ) as daemon:
            now(daemon, measure=True)
            home, other = seen(daemon, lambda state: measured(state) and len(state.disks) == 2).disks
            assert (home.path, other.path) == (str(daemon.home), str(compiled))
            assert [use.what for use in other.uses] == [DiskUseKind.CACHES]
            assert other.uses[0].size >= 2_000_000
            assert other.total == os.statvfs(compiled).f_blocks * os.statvfs(compiled).f_frsize
            shown = ctl("disks", socket=daemon.socket)
            assert (shown.returncode, shown.stderr) == (0, "")
            assert shown.stdout.index(str(daemon.home)) < shown.stdout.index(str(compiled))


def test_promise_10_a_hung_volume_is_named_and_the_rest_is_measured(daemon: RunningDaemon) -> None:
    away = daemon.home / "models"
    away.mkdir()
    with HungVolume(away):
        found = seen(daemon, lambda state: bool(state.unanswered))
        assert found.unanswered == [str(away)]
        assert found.disks[0].path == str(daemon.home)
        daemon.submit(program("next"))
        daemon.wait("next", State.COMPLETED)


@pytest.fixture(scope="session")
def nvml_library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("nvml"))


def test_gpus_are_read_while_somebody_watches_and_their_readings_are_kept(nvml_library: Path, folder: Path) -> None:
    nvml = Nvml(nvml_library, folder / "nvml.txt")
    nvml.tell(gpu("GPU-aaaa", utilization=10))
    with RunningDaemon(folder, arguments=("--supervisor", "process"), env=nvml.environment) as daemon:
        seen(daemon, lambda state: [one.utilization for one in state.gpus] == [10])
        nvml.tell(gpu("GPU-aaaa", utilization=93))
        seen(daemon, lambda state: [one.utilization for one in state.gpus] == [93])
        (series,) = daemon.call(mm.GPU_HISTORY, mm.GpuHistoryParameters()).history
        assert (series.uuid, series.utilization[0]) == ("GPU-aaaa", 10)
        assert daemon.call(mm.GPU_HISTORY, mm.GpuHistoryParameters(gpu="GPU-bbbb")).history == []
        with started("gpus", "--follow", socket=daemon.socket) as client:
            assert client.stdout is not None
            assert b"93%" in next(line for line in client.stdout if line.startswith(b"0 "))
            nvml.tell(gpu("GPU-aaaa", utilization=41))
            assert b"41%" in next(line for line in client.stdout if line.startswith(b"0 "))
            client.send_signal(signal.SIGINT)
            assert client.wait(timeout=DEADLINE_SECONDS) == INTERRUPTED
        shown = ctl("gpus", "--history", socket=daemon.socket)
        assert (shown.returncode, shown.stderr) == (0, "")
        assert shown.stdout.startswith("GPU-aaaa\nTIME ")
