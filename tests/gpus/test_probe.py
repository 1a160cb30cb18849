# SPDX-License-Identifier: Apache-2.0
"""Tests of the program that asks NVML, with the real pynvml: it reports all that the driver reports, and says when
something is missing."""

import ctypes.util
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import msgspec
import pytest

from fluxgymd.core.gpu import Reading
from fluxgymd.gpus.probe import ProbeAnswer
from tests.gpus.nvml import (
    DRIVER_NOT_LOADED,
    FUNCTION_NOT_FOUND,
    GPU_IS_LOST,
    LIB_RM_VERSION_MISMATCH,
    NOT_SUPPORTED,
    Nvml,
    gpu,
)
from tests.harness.waiting import DEADLINE_SECONDS


def probe(*, questions: int = 1, command: Sequence[str] = ("-m", "fluxgymd.gpus.probe")) -> ProbeAnswer:
    """Runs the program as the daemon does and returns its last answer."""
    done = subprocess.run(
        [sys.executable, *command], input=b"\n" * questions, capture_output=True, timeout=DEADLINE_SECONDS
    )
    assert (done.returncode, done.stderr) == (0, b"")
    return msgspec.json.decode(done.stdout.splitlines()[-1], type=ProbeAnswer)


def test_every_gpu_is_reported_with_what_the_driver_reports(nvml: Nvml) -> None:
    nvml.tell(
        gpu("GPU-aa", "NVIDIA H200", used=1_000_000, utilization=97, temperature=61, milliwatts=698_765),
        gpu("GPU-bb", "NVIDIA GeForce RTX 4090", total=25_757_220_864, milliwatts=0),
    )
    assert probe() == ProbeAnswer(
        works=True,
        gpus=(
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
        ),
    )


def test_the_activity_of_a_gpu_is_reported(nvml: Nvml) -> None:
    reasons = 0x4 | 0x40 | 0x80 | 0x1  # power cap, thermal slowdown by the hardware, power brake, idle
    nvml.tell(
        gpu("GPU-aa"),
        "limit GPU-aa 700000",
        "clock GPU-aa 1980",
        f"reasons GPU-aa {reasons}",
        "ecc GPU-aa 2",
        "process GPU-aa 4711",
        "process GPU-aa 4712",
        "client GPU-aa 4713",
        gpu("GPU-bb"),
        "reasons GPU-bb 0",
        "process GPU-bb 0",
        "ecc GPU-bb 0",
    )
    first, second = probe().gpus
    assert (first.power_limit, first.sm_clock, first.ecc_uncorrected) == (700.0, 1980, 2)
    assert first.throttled == ("power_cap", "thermal", "power_brake")
    assert first.processes == (4711, 4712, 4713)
    assert (second.power_limit, second.sm_clock, second.ecc_uncorrected) == (None, None, 0)
    assert (second.throttled, second.processes) == ((), ())


def test_the_missing_process_list_under_windows_is_not_reported_as_no_processes(nvml: Nvml, tmp_path: Path) -> None:
    nvml.tell(gpu("GPU-aa", utilization=97), "process GPU-aa 0")
    there = (
        f"import pathlib; from fluxgymd.gpus import probe; probe.WSL = pathlib.Path({str(tmp_path)!r}); probe.main()"
    )
    (reading,) = probe(command=("-c", there)).gpus
    assert (reading.utilization, reading.processes) == (97, None)


def test_a_driver_that_knows_only_the_older_name_says_why_it_is_slow(nvml: Nvml) -> None:
    missing = f"error nvmlDeviceGetCurrentClocksEventReasons {FUNCTION_NOT_FOUND}"
    nvml.tell(gpu("GPU-aa"), "reasons GPU-aa 32", missing)
    assert probe().gpus[0].throttled == ("thermal",)


@pytest.mark.parametrize("code", [NOT_SUPPORTED, FUNCTION_NOT_FOUND])
def test_a_driver_without_events_reports_the_rest(nvml: Nvml, code: int) -> None:
    for function in ("nvmlEventSetCreate", "nvmlDeviceRegisterEvents", "nvmlEventSetWait_v2"):
        nvml.tell(gpu("GPU-aa", utilization=5), f"error {function} {code}")
        answer = probe(questions=2)
        assert [(reading.utilization, reading.xids) for reading in answer.gpus] == [(5, ())]
        assert answer.works


def test_a_driver_without_a_gpu_gives_a_certain_answer(nvml: Nvml) -> None:
    assert probe() == ProbeAnswer(works=True)


def test_values_that_a_gpu_does_not_report_are_left_out(nvml: Nvml) -> None:
    nvml.tell(gpu("GPU-aa", total=-1, utilization=-1, temperature=-1, milliwatts=-1), "error nvmlDeviceGetName 3")
    assert probe() == ProbeAnswer(gpus=(Reading(index=0, uuid="GPU-aa", name="unknown"),), works=True)


def test_a_driver_that_is_not_loaded_is_a_machine_without_a_gpu(nvml: Nvml) -> None:
    nvml.tell(gpu("GPU-aa"), f"error nvmlInitWithFlags {DRIVER_NOT_LOADED}")
    assert probe() == ProbeAnswer(problem="The NVIDIA driver is not loaded.")


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        (
            f"error nvmlInitWithFlags {LIB_RM_VERSION_MISMATCH}",
            "NVML could not be initialized: RM has detected an NVML/RM version mismatch.",
        ),
        (f"error nvmlDeviceGetCount_v2 {GPU_IS_LOST}", "NVML does not answer: GPU is lost."),
        (f"error nvmlDeviceGetHandleByIndex_v2 {GPU_IS_LOST}", "NVML does not answer: the GPU is lost."),
        (f"error nvmlDeviceGetUUID {GPU_IS_LOST}", "NVML does not answer: the GPU is lost."),
        ("error nvmlDeviceGetUUID 999", "NVML does not answer: GPU 0: Unknown Error; GPU 1: Unknown Error."),
    ],
)
def test_promise_4_a_driver_that_fails_is_not_a_machine_without_gpus(nvml: Nvml, line: str, problem: str) -> None:
    nvml.tell(gpu("GPU-aa"), gpu("GPU-bb"), line)
    assert probe() == ProbeAnswer(certain=False, problem=problem)


def test_promise_4_one_gpu_that_fails_hides_no_other_and_nothing_is_certain(nvml: Nvml) -> None:
    nvml.tell(gpu("GPU-aa"), gpu("GPU-bb"), gpu("GPU-cc"), "fails GPU-bb 999")
    answer = probe()
    assert [reading.uuid for reading in answer.gpus] == ["GPU-aa", "GPU-cc"]
    assert (answer.certain, answer.problem) == (False, "NVML does not answer: GPU 1: Unknown Error.")


def test_a_gpu_that_was_lost_before_it_was_seen_hides_no_other(nvml: Nvml) -> None:
    nvml.tell(gpu("GPU-aa"), gpu("GPU-bb"), gpu("GPU-cc"), "lost GPU-aa", "lost GPU-cc")
    answer = probe()
    assert [reading.uuid for reading in answer.gpus] == ["GPU-bb"]
    assert answer.certain
    assert answer.problem == "GPUs 0, 2 are lost: they fell off the bus. The others still work."


def test_an_xid_is_reported_once(nvml: Nvml) -> None:
    nvml.tell(gpu("GPU-aa"), gpu("GPU-bb"))
    command = [sys.executable, "-m", "fluxgymd.gpus.probe"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as program:

        def xids() -> list[tuple[int, ...]]:
            assert program.stdin is not None
            assert program.stdout is not None
            program.stdin.write(b"\n")
            program.stdin.flush()
            answer = msgspec.json.decode(program.stdout.readline(), type=ProbeAnswer)
            return [reading.xids for reading in answer.gpus]

        assert xids() == [(), ()]
        nvml.tell(gpu("GPU-aa"), gpu("GPU-bb"), "xid GPU-bb 79", "xid GPU-bb 45")
        assert xids() == [(), (79, 45)]
        assert xids() == [(), ()]


def test_this_machine_itself_is_reported(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(checkout)
    answer = probe()
    if ctypes.util.find_library("nvidia-ml") is None:
        problem = "There is no NVIDIA driver on this machine (libnvidia-ml.so.1 was not found)."
        assert answer == ProbeAnswer(problem=problem)
    else:
        assert all(reading.uuid.startswith("GPU-") for reading in answer.gpus) or answer.problem
