# SPDX-License-Identifier: Apache-2.0
"""The program that asks NVML: the real pynvml tells what the driver tells, and says so when that is not all."""

import ctypes.util
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from fluxgymd.gpus.probe import Answer, Reading
from tests.gpus.nvml import DRIVER_NOT_LOADED, GPU_IS_LOST, LIB_RM_VERSION_MISMATCH, Nvml, gpu


def probe() -> Answer:
    """Runs the program as the daemon does."""
    done = subprocess.run([sys.executable, "-m", "fluxgymd.gpus.probe"], capture_output=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, b"")
    return msgspec.json.decode(done.stdout, type=Answer)


def test_every_gpu_is_told_with_what_the_driver_tells(nvml: Nvml) -> None:
    nvml.tell(
        gpu("GPU-aa", "NVIDIA H200", used=1_000_000, utilization=97, temperature=61, milliwatts=698_765),
        gpu("GPU-bb", "NVIDIA GeForce RTX 4090", total=25_757_220_864, milliwatts=0),
    )
    assert probe() == Answer(
        gpus=[
            Reading(
                index=0,
                uuid="GPU-aa",
                name="NVIDIA H200",
                memory_total=150_754_820_096,
                memory_used=1_000_000,
                utilization=97,
                temperature=61,
                power_draw=698.765,
            ),
            Reading(
                index=1,
                uuid="GPU-bb",
                name="NVIDIA GeForce RTX 4090",
                memory_total=25_757_220_864,
                memory_used=0,
                utilization=0,
                temperature=30,
                power_draw=0.0,
            ),
        ]
    )


def test_a_driver_without_a_gpu_is_certain(nvml: Nvml) -> None:
    assert probe() == Answer(gpus=[], certain=True)


def test_what_a_gpu_does_not_tell_is_left_out(nvml: Nvml) -> None:
    nvml.tell(gpu("GPU-aa", total=-1, utilization=-1, temperature=-1, milliwatts=-1), "error nvmlDeviceGetName 3")
    assert probe() == Answer(gpus=[Reading(index=0, uuid="GPU-aa", name="unknown")])


def test_a_driver_that_is_not_loaded_is_a_machine_without_a_gpu(nvml: Nvml) -> None:
    nvml.tell(gpu("GPU-aa"), f"error nvmlInitWithFlags {DRIVER_NOT_LOADED}")
    assert probe() == Answer(gpus=[], certain=True, problem="The NVIDIA driver is not loaded.")


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        (
            f"error nvmlInitWithFlags {LIB_RM_VERSION_MISMATCH}",
            "NVML does not start: RM has detected an NVML/RM version mismatch.",
        ),
        (f"error nvmlDeviceGetCount_v2 {GPU_IS_LOST}", "NVML does not answer: GPU is lost."),
        (f"error nvmlDeviceGetHandleByIndex_v2 {GPU_IS_LOST}", "NVML does not answer: GPU is lost."),
        (f"error nvmlDeviceGetUUID {GPU_IS_LOST}", "NVML does not answer: GPU is lost."),
    ],
)
def test_promise_4_a_driver_that_fails_is_not_a_machine_without_gpus(nvml: Nvml, line: str, problem: str) -> None:
    nvml.tell(gpu("GPU-aa"), gpu("GPU-bb"), line)
    assert probe() == Answer(gpus=[], certain=False, problem=problem)


def test_an_answer_that_was_given_stands_when_the_goodbye_fails(nvml: Nvml) -> None:
    nvml.tell(gpu("GPU-aa"), f"error nvmlShutdown {GPU_IS_LOST}")
    assert [reading.uuid for reading in probe().gpus] == ["GPU-aa"]


def test_this_machine_itself_is_told(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(checkout)
    answer = probe()
    if ctypes.util.find_library("nvidia-ml") is None:
        problem = "There is no NVIDIA driver on this machine (libnvidia-ml.so.1 was not found)."
        assert answer == Answer(gpus=[], certain=True, problem=problem)
    else:
        assert all(reading.uuid.startswith("GPU-") for reading in answer.gpus) or answer.problem
