# SPDX-License-Identifier: Apache-2.0
"""Jobs and GPUs, with the real pynvml on a simulated NVML: one job per GPU, and none on a GPU in doubt."""

import time
from pathlib import Path

import psutil
import pytest

from fluxgym.protocol import machine_methods as mm
from fluxgym.protocol import methods as m
from fluxgym.protocol.messages import State, Verdict, WaitingFor, WatchdogMode
from tests.daemon.running import RunningDaemon, context
from tests.gpus.nvml import Nvml, build, gpu
from tests.harness.waiting import until


@pytest.fixture(scope="session")
def nvml_library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("nvml"))


def test_promise_4_each_gpu_has_one_job_and_only_its_own(nvml_library: Path, folder: Path, model: Path) -> None:
    nvml = Nvml(nvml_library, folder / "nvml.txt")
    nvml.tell(gpu("GPU-aaaa"), gpu("GPU-bbbb"))
    with RunningDaemon(folder, arguments=("--supervisor", "process"), env=nvml.environment) as daemon:
        for name in ("first", "second", "third"):
            daemon.submit(context(name, model, epochs=1000))
        first, second = daemon.wait("first", State.RUNNING), daemon.wait("second", State.RUNNING)
        assert first.runtime.attempt is not None
        assert second.runtime.attempt is not None
        assert (first.runtime.attempt.gpus, second.runtime.attempt.gpus) == (["GPU-aaaa"], ["GPU-bbbb"])
        assert psutil.Process(second.runtime.attempt.pid).environ()["CUDA_VISIBLE_DEVICES"] == "GPU-bbbb"
        until(lambda: daemon.job("third").runtime.waiting_for is WaitingFor.GPU, what="the third to wait")
        assert daemon.job("third").runtime.state is State.QUEUED
        held = daemon.call(mm.GPUS, m.Nothing()).gpus
        assert [(one.uuid, one.job) for one in held] == [("GPU-aaaa", "first"), ("GPU-bbbb", "second")]

        # Leases are stored with the jobs, so a restarted daemon does not give a GPU away twice.
        daemon.kill()
        daemon.start()
        until(lambda: daemon.job("third").runtime.waiting_for is WaitingFor.GPU, what="the third to wait again")
        daemon.call(m.STOP, m.StopParameters(name="first"))
        third = daemon.wait("third", State.RUNNING).runtime.attempt
        assert third is not None
        assert third.gpus == ["GPU-aaaa"]


def test_promise_4_nothing_starts_while_nvml_does_not_answer(nvml_library: Path, folder: Path, model: Path) -> None:
    nvml = Nvml(nvml_library, folder / "nvml.txt")
    nvml.tell(gpu("GPU-aaaa"), "error nvmlDeviceGetCount_v2 999")
    with RunningDaemon(folder, arguments=("--supervisor", "process"), env=nvml.environment) as daemon:
        daemon.submit(context("my-lora", model))
        until(lambda: daemon.job("my-lora").runtime.waiting_for is WaitingFor.GPU, what="the job to wait for a GPU")
        until(lambda: daemon.info().degraded, what="the daemon to say that NVML does not answer")
        assert "NVML does not answer" in daemon.info().degraded[0]
        nvml.tell(gpu("GPU-aaaa"))
        daemon.call(mm.GPUS, m.Nothing())
        running = daemon.wait("my-lora", State.RUNNING).runtime.attempt
        assert running is not None
        assert running.gpus == ["GPU-aaaa"]


def test_promise_4_a_running_job_with_an_unreadable_journal_keeps_every_gpu_until_it_is_repaired(
    nvml_library: Path, folder: Path, model: Path
) -> None:
    nvml = Nvml(nvml_library, folder / "nvml.txt")
    nvml.tell(gpu("GPU-aaaa"), gpu("GPU-bbbb"))
    with RunningDaemon(folder, arguments=("--supervisor", "process"), env=nvml.environment) as daemon:
        daemon.submit(context("broken", model, epochs=1000))
        trainer = daemon.wait("broken", State.RUNNING).runtime.attempt
        assert trainer is not None
        daemon.kill()
        journal = daemon.folder("broken") / "events.jsonl"
        sound = journal.read_bytes()
        damaged = bytes(len(sound))
        journal.write_bytes(damaged)
        daemon.start()
        reason = str(daemon.job("broken").runtime.reason)
        assert "attempt 001 holds its lock, but its GPU is unknown" in reason
        assert f"repair or restore {journal}" in reason
        assert any("Damaged jobs: broken" in told for told in daemon.info().degraded)

        daemon.submit(context("next", model, epochs=1000))
        waits = until(
            lambda: runtime if (runtime := daemon.job("next").runtime).reason else None, what="the next job to wait"
        )
        assert (waits.state, waits.waiting_for) == (State.QUEUED, WaitingFor.GPU)
        assert (
            "These jobs keep GPUs reserved until their journals are repaired: broken; "
            "`fluxgymctl status broken` says what to do"
        ) in str(waits.reason)
        held = daemon.call(mm.GPUS, m.Nothing()).gpus
        assert [one.job for one in held] == ["broken", "broken"]
        assert journal.read_bytes() == damaged

        daemon.kill()
        journal.write_bytes(sound)
        daemon.start()
        again = daemon.wait("broken", State.RUNNING).runtime.attempt
        assert again is not None
        assert (again.number, again.pid) == (1, trainer.pid), "it has run all the time"
        other = daemon.wait("next", State.RUNNING).runtime.attempt
        assert other is not None
        assert (again.gpus, other.gpus) == (["GPU-aaaa"], ["GPU-bbbb"])


def test_promise_4_a_gpu_that_fell_off_the_bus_is_given_to_no_job(
    nvml_library: Path, folder: Path, model: Path
) -> None:
    nvml = Nvml(nvml_library, folder / "nvml.txt")
    nvml.tell(gpu("GPU-aaaa"), gpu("GPU-bbbb"))
    with RunningDaemon(folder, arguments=("--supervisor", "process"), env=nvml.environment) as daemon:
        assert len(daemon.call(mm.GPUS, m.Nothing()).gpus) == 2
        nvml.tell(gpu("GPU-aaaa"), gpu("GPU-bbbb"), "lost GPU-aaaa")
        assert (
            daemon.call(mm.GPUS, m.Nothing()).problem == "GPU 0 is lost: it fell off the bus. The others still work."
        )
        for name in ("first", "second"):
            daemon.submit(context(name, model, epochs=1000))
        running = daemon.wait("first", State.RUNNING).runtime.attempt
        assert running is not None
        assert running.gpus == ["GPU-bbbb"]
        until(lambda: daemon.job("second").runtime.waiting_for is WaitingFor.GPU, what="the second to wait for a GPU")


@pytest.mark.parametrize("mode", [WatchdogMode.ACT, WatchdogMode.OFF])
def test_a_running_job_shows_what_its_gpu_does_or_that_it_is_unknown(
    nvml_library: Path, folder: Path, model: Path, mode: WatchdogMode
) -> None:
    nvml = Nvml(nvml_library, folder / "nvml.txt")
    nvml.tell(gpu("GPU-aaaa", used=20 << 30, utilization=93, temperature=71, milliwatts=279_600), gpu("GPU-bbbb"))
    with RunningDaemon(folder, arguments=("--supervisor", "process"), env=nvml.environment) as daemon:
        looks = {"interval_seconds": 0.5}
        daemon.submit(context("my-lora", model, epochs=10_000, watchdog=mode, watchdog_limits=looks))
        (shown,) = until(lambda: daemon.job("my-lora").runtime.gpus, what="its GPU to be shown")
        assert (shown.uuid, shown.utilization, shown.temperature, shown.power_draw) == ("GPU-aaaa", 93, 71, 279.6)
        judgement = daemon.job("my-lora").runtime.watchdog
        reply = daemon.call(m.WATCHDOG, m.JobName(name="my-lora"))
        assert reply.mode is mode
        if mode is WatchdogMode.ACT:
            assert judgement is not None
            assert reply.verdict is not Verdict.NOT_WATCHED
            assert reply.explanation
        else:
            assert judgement is None
            assert (reply.verdict, reply.why) == (Verdict.NOT_WATCHED, "Its watchdog is off.")
        nvml.tell(gpu("GPU-aaaa"), "error nvmlDeviceGetCount_v2 999")
        until(lambda: daemon.job("my-lora").runtime.gpus is None, what="its GPU to be unknown")
        daemon.call(m.STOP, m.StopParameters(name="my-lora"))
        assert daemon.wait("my-lora", State.STOPPED).runtime.gpus is None


def test_energy_is_counted_over_attempts_and_survives_a_restart_of_the_daemon(
    nvml_library: Path, folder: Path, model: Path
) -> None:
    nvml = Nvml(nvml_library, folder / "nvml.txt")
    nvml.tell(gpu("GPU-aaaa", milliwatts=360_000))
    with RunningDaemon(folder, arguments=("--supervisor", "process"), env=nvml.environment) as daemon:
        daemon.submit(context("my-lora", model, epochs=10_000, watchdog_limits={"interval_seconds": 0.5}))

        def energy() -> float:
            """Watt hours of the job, which uses a tenth of one per second."""
            return daemon.job("my-lora").runtime.energy or 0.0

        until(lambda: energy() > 0.1, what="the job to use energy")
        before = energy()
        daemon.kill()
        daemon.start()
        attempt = daemon.job("my-lora").runtime.attempt
        assert attempt is not None
        until(lambda: energy() >= before, what="the energy to be known again")
        assert energy() <= (time.time() - attempt.started_at) / 10

        daemon.call(m.STOP, m.StopParameters(name="my-lora"))
        first = daemon.wait("my-lora", State.STOPPED).runtime.energy
        assert first is not None
        assert first >= before
        daemon.kill()
        daemon.start()
        assert energy() == first
        assert daemon.events("my-lora")[-1]["energy"] == first
        daemon.call(m.RESUME, m.ResumeParameters(name="my-lora"))
        until(lambda: energy() > first, what="the second attempt to use energy")


def test_energy_is_unknown_if_the_driver_does_not_report_the_power(
    nvml_library: Path, folder: Path, model: Path
) -> None:
    nvml = Nvml(nvml_library, folder / "nvml.txt")
    nvml.tell(gpu("GPU-aaaa"), "error nvmlDeviceGetPowerUsage 3")
    with RunningDaemon(folder, arguments=("--supervisor", "process"), env=nvml.environment) as daemon:
        daemon.submit(context("my-lora", model, epochs=10_000, watchdog_limits={"interval_seconds": 0.5}))
        (shown,) = until(lambda: daemon.job("my-lora").runtime.gpus, what="its GPU to be shown")
        assert shown.power_draw is None
        daemon.call(m.STOP, m.StopParameters(name="my-lora"))
        assert daemon.wait("my-lora", State.STOPPED).runtime.energy is None
