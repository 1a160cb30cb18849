# SPDX-License-Identifier: Apache-2.0
"""Tests of looks at a real training of the tiny model, beside the daemon that runs it."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import msgspec
import pytest

from fluxgym.protocol.messages import Context, Kind, Phase, State
from fluxgymd.core.gpu import Reading
from fluxgymd.core.watchdog.observation import Listed, Observation
from fluxgymd.gpus.machine import Gpus
from tests.daemon.running import RunningDaemon, context
from tests.gpus.nvml import Nvml, build, gpu
from tests.harness.hung_volume import HungVolume
from tests.harness.waiting import until_async
from tests.watchdog.watched import observer_of, trainer_of

LONG = 10_000


async def until_seen(
    observe: Callable[[], Awaitable[Observation]], wanted: Callable[[Observation], object], what: str
) -> Observation:
    """Looks until an observation satisfies `wanted`, and returns it."""

    async def look() -> Observation | None:
        seen = await observe()
        return seen if wanted(seen) else None

    return await until_async(look, what=what)


@pytest.fixture
def training(folder: Path, model: Path) -> RunningDaemon:
    return RunningDaemon(folder, arguments=("--supervisor", "process"))


def play(
    training: RunningDaemon,
    model: Path,
    scenario: Callable[[Gpus], Awaitable[None]],
    *,
    gpu_indices: list[str] | None = None,
) -> None:
    """Runs the scenario beside a long training named `my-lora`."""

    async def whole() -> None:
        gpus = Gpus()
        try:
            await scenario(gpus)
        finally:
            await gpus.close()

    with training as daemon:
        daemon.submit(context("my-lora", model, epochs=LONG, gpus=gpu_indices))
        daemon.wait_for_step("my-lora", 1)
        asyncio.run(whole())


def test_a_training_is_seen_to_advance(training: RunningDaemon, model: Path) -> None:
    async def scenario(gpus: Gpus) -> None:
        observer = observer_of(training, "my-lora", gpus)
        first = await until_seen(observer.observe, lambda seen: seen.phase is Phase.TRAINING, "the training")
        assert first.activity is not None
        assert first.step is not None
        assert first.total_steps == LONG * 16
        assert (first.gpus, first.cache_files) == ((), 8 * 2)
        assert (
            first.log_bytes == training.folder("my-lora").joinpath("training.log").stat().st_size or first.log_bytes
        )
        assert first.activity.threads >= 2, "the trainer, and its shim"
        assert (first.activity.stopped, first.activity.frozen) == (False, False)
        assert first.disk_free
        saved = await until_seen(
            observer.observe, lambda seen: (seen.output_bytes or 0) > (first.output_bytes or 0), "a checkpoint"
        )
        assert saved.step is not None
        assert saved.step > first.step
        assert saved.clock > first.clock
        assert saved.activity is not None
        assert (saved.activity.cpu_seconds or 0) > (first.activity.cpu_seconds or 0) > 0
        assert (saved.activity.io_bytes or 0) > (first.activity.io_bytes or 0) > 0
        stepped = await until_seen(observer.observe, lambda seen: (seen.longest_step or 0) > 0, "a step's time")
        assert msgspec.json.decode(msgspec.json.encode(stepped), type=Observation) == stepped
        observer.close()

    play(training, model, scenario)


def test_promise_7_a_stopped_trainer_is_seen_as_stopped_and_nothing_of_it_moves(
    training: RunningDaemon, model: Path
) -> None:
    async def scenario(gpus: Gpus) -> None:
        observer = observer_of(training, "my-lora", gpus)
        pid = trainer_of(training, "my-lora")
        os.kill(pid, signal.SIGSTOP)
        try:
            seen = await until_seen(
                observer.observe, lambda seen: seen.activity and seen.activity.stopped, "it to be stopped"
            )
            later = await observer.observe()
            assert (later.step, later.log_bytes, later.output_bytes) == (seen.step, seen.log_bytes, seen.output_bytes)
        finally:
            os.kill(pid, signal.SIGCONT)
        await until_seen(observer.observe, lambda seen: (seen.step or 0) > (later.step or 0), "it to go on")
        observer.close()

    play(training, model, scenario)


def test_promise_7_a_hung_volume_hides_the_files_and_nothing_else(training: RunningDaemon, model: Path) -> None:
    """A volume is mounted over the pictures, which the trainer has already read into its memory."""

    async def scenario(gpus: Gpus) -> None:
        dataset = training.folder("my-lora") / "dataset"
        observer = observer_of(training, "my-lora", gpus, deadline_seconds=0.5)
        before = await until_seen(observer.observe, lambda seen: seen.cache_files is not None, "a look at the files")
        threads = threading.active_count()
        with HungVolume(dataset):
            for _ in range(6):
                seen = await until_seen(observer.observe, lambda seen: seen.cache_files is None, "the hung volume")
                assert (seen.output_bytes, seen.disk_free, seen.longest_step) == (None, None, None)
                assert seen.step is not None
                assert seen.step >= (before.step or 0)
                assert seen.log_bytes >= before.log_bytes
                assert seen.activity is not None
                assert seen.activity.cpu_seconds
            assert threading.active_count() <= threads + 3, "one hangs; two may be at other work"
        await until_seen(observer.observe, lambda seen: seen.cache_files is not None, "the files again")
        observer.close()

    play(training, model, scenario)


@pytest.fixture
def nvml(tmp_path_factory: pytest.TempPathFactory, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Nvml:
    """Two GPUs, which helpers that the test itself starts also see."""
    made = Nvml(build(tmp_path_factory.mktemp("nvml")), folder / "nvml.txt")
    made.tell(gpu("GPU-aa"), gpu("GPU-bb"))
    for name, value in made.environment.items():
        monkeypatch.setenv(name, value)
    return made


@pytest.fixture
def training_on_gpus(nvml: Nvml, folder: Path) -> RunningDaemon:
    return RunningDaemon(folder, arguments=("--supervisor", "process"), env=nvml.environment)


def test_promise_7_the_gpus_of_the_attempt_are_reported_and_unknown_while_nvml_hangs(
    nvml: Nvml, training_on_gpus: RunningDaemon, model: Path
) -> None:
    training = training_on_gpus

    async def scenario(_: Gpus) -> None:
        gpus = Gpus(deadline_seconds=3.0)
        observer = observer_of(training, "my-lora", gpus, interval=0)
        nvml.tell(gpu("GPU-aa", utilization=97), gpu("GPU-bb"))
        seen = await until_seen(observer.observe, lambda seen: seen.gpus, "its GPU")
        assert seen.gpus is not None
        assert [(one.uuid, one.utilization) for one in seen.gpus] == [("GPU-bb", 0)]
        nvml.tell(gpu("GPU-aa", utilization=97), gpu("GPU-bb"), "hang nvmlDeviceGetPowerUsage")
        hung = await observer.observe()
        assert hung.gpus is None
        assert hung.activity is not None
        assert hung.step is not None
        nvml.tell(gpu("GPU-aa"), gpu("GPU-bb"), "lost GPU-bb", "xid GPU-bb 79")
        lost = await until_seen(observer.observe, lambda seen: seen.gpus, "NVML again")
        assert lost.gpus is not None
        assert [(one.uuid, one.lost) for one in lost.gpus] == [("GPU-bb", True)]
        observer.close()
        await gpus.close()

    play(training, model, scenario, gpu_indices=["1"])


def test_promise_7_the_pids_that_nvml_lists_are_sorted_into_the_jobs_own_and_those_on_this_machine(
    nvml: Nvml, training_on_gpus: RunningDaemon, model: Path
) -> None:
    async def scenario(gpus: Gpus) -> None:
        observer = observer_of(training_on_gpus, "my-lora", gpus, interval=0)
        trainer, here = trainer_of(training_on_gpus, "my-lora"), os.getpid()
        of_nobody = 4_000_000_000
        both = (gpu("GPU-aa"), gpu("GPU-bb", utilization=97))
        nvml.tell(*both, *(f"process GPU-bb {pid}" for pid in (trainer, here, of_nobody)))
        seen = await until_seen(observer.observe, lambda seen: seen.gpus and seen.gpus[0].processes, "its processes")
        assert seen.listed == Listed(own=(trainer,), here=tuple(sorted((trainer, here))))
        nvml.tell(*both, f"process GPU-aa {trainer}", "process GPU-bb 0")
        seen = await observer.observe()
        assert seen.gpus is not None
        assert (seen.gpus[0].processes, seen.listed) == ((), Listed()), "it is on the other GPU"
        observer.close()

    play(training_on_gpus, model, scenario, gpu_indices=["1"])


class WhenAsked(Gpus):
    """Records the time of its first question."""

    asked_at: float | None = None

    async def ask(self, *, max_age: float = 0.0) -> tuple[Reading, ...]:
        self.asked_at = self.asked_at or time.monotonic()
        return await super().ask(max_age=max_age)


def test_a_look_has_the_time_at_which_its_counters_were_read(
    nvml: Nvml, training_on_gpus: RunningDaemon, model: Path
) -> None:
    """If the clock were read after the wait for NVML, two looks could seem to follow each other at once."""

    async def scenario(_: Gpus) -> None:
        gpus = WhenAsked()
        observer = observer_of(training_on_gpus, "my-lora", gpus)
        seen = await observer.observe()
        assert gpus.asked_at is not None
        assert seen.clock <= gpus.asked_at
        observer.close()
        await gpus.close()

    play(training_on_gpus, model, scenario, gpu_indices=["1"])


def test_a_program_has_no_phase(training: RunningDaemon) -> None:
    with training as daemon:
        says = "echo 'steps: 10%|# | 1/10 [00:01<00:09, 1.0s/it]'; exec sleep 1000"
        daemon.submit(Context(name="job", kind=Kind.PROGRAM, program=["/bin/sh", "-c", says]))
        daemon.wait("job", State.RUNNING)

        async def scenario() -> None:
            gpus = Gpus()
            observer = observer_of(daemon, "job", gpus)
            seen = await until_seen(observer.observe, lambda seen: seen.log_bytes > 0, "its output")
            assert (seen.phase, seen.step, seen.gpus) == (None, None, ())
            assert seen.activity is not None
            observer.close()
            await gpus.close()

        asyncio.run(scenario())
