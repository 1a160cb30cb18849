# SPDX-License-Identifier: Apache-2.0
"""Jobs and GPUs, with the real pynvml on a small NVML of ours: one job a GPU, and none in doubt."""

from pathlib import Path

import psutil
import pytest

from fluxgym import methods as m
from fluxgym.messages import State, WaitingFor
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
        waits = daemon.job("third").runtime
        assert (waits.state, waits.waiting_for) == (State.QUEUED, WaitingFor.GPU)
        held = daemon.call(m.GPUS, m.Nothing()).gpus
        assert [(one.uuid, one.job) for one in held] == [("GPU-aaaa", "first"), ("GPU-bbbb", "second")]

        # The leases are in the jobs: a daemon that was killed gives nothing away twice.
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
        daemon.call(m.GPUS, m.Nothing())
        running = daemon.wait("my-lora", State.RUNNING).runtime.attempt
        assert running is not None
        assert running.gpus == ["GPU-aaaa"]
