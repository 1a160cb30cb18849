# SPDX-License-Identifier: Apache-2.0
"""What the daemon knows of its GPUs: never more than NVML answered, and it never waits for it in its own loop."""

import asyncio
import os
import resource
from pathlib import Path

import pytest

from fluxgymd.gpus.machine import Gpus
from tests.gpus.nvml import GPU_IS_LOST, Nvml, gpu
from tests.harness.waiting import until


def probes() -> list[int]:
    """The helper processes of this test run that are alive."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            command = (entry / "cmdline").read_bytes()
        except OSError:
            continue
        if parent == os.getpid() and b"fluxgymd.gpus.probe" in command:
            found.append(int(entry.name))
    return found


def test_before_nvml_was_asked_nothing_is_known_and_nothing_is_wrong() -> None:
    gpus = Gpus()
    assert not gpus.asked
    assert (gpus.uuids, gpus.uncertain, gpus.problem) == ([], None, None)


def test_the_gpus_are_known_once_they_were_asked_for(nvml: Nvml) -> None:
    nvml.tell(gpu("GPU-aa"), gpu("GPU-bb"))
    gpus = Gpus()
    readings = asyncio.run(gpus.ask())
    assert gpus.asked
    assert [reading.uuid for reading in readings] == gpus.uuids == ["GPU-aa", "GPU-bb"]
    assert (gpus.uncertain, gpus.problem) == (None, None)


def test_promise_4_a_driver_that_fails_takes_no_gpu_away_and_nothing_is_certain(nvml: Nvml) -> None:
    nvml.tell(gpu("GPU-aa"))
    gpus = Gpus()
    asyncio.run(gpus.ask())
    nvml.tell(gpu("GPU-aa"), f"error nvmlDeviceGetUUID {GPU_IS_LOST}")
    assert asyncio.run(gpus.ask()) == []
    assert gpus.uuids == ["GPU-aa"]
    assert [gpus.uncertain, gpus.problem] == ["NVML does not answer: GPU is lost."] * 2

    nvml.tell(gpu("GPU-aa"))
    assert [reading.uuid for reading in asyncio.run(gpus.ask())] == ["GPU-aa"]
    assert [gpus.uncertain, gpus.problem] == [None, None]


@pytest.mark.parametrize("function", ["nvmlInitWithFlags", "nvmlDeviceGetUtilizationRates", "nvmlShutdown"])
def test_an_nvml_that_hangs_is_given_up_and_its_helper_ended(nvml: Nvml, function: str) -> None:
    nvml.tell(gpu("GPU-aa"), f"hang {function}")
    gpus = Gpus(deadline_seconds=0.5)
    assert asyncio.run(gpus.ask()) == []
    assert gpus.uncertain == "NVML did not answer within 0.5 s."
    assert probes() == []


def test_the_loop_goes_on_while_nvml_hangs(nvml: Nvml) -> None:
    nvml.tell(gpu("GPU-aa"), "hang nvmlDeviceGetCount_v2")

    async def scenario() -> None:
        asking = asyncio.create_task(Gpus(deadline_seconds=600).ask())
        await asyncio.to_thread(until, probes, what="the helper to run")
        for _ in range(100):
            await asyncio.to_thread(os.getpid)  # through the loop and back
        assert not asking.done()
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking

    asyncio.run(scenario())
    until(lambda: not probes(), what="the helper to be gone with the one who asked")


def test_a_helper_that_dies_is_told(nvml: Nvml, tmp_path: Path) -> None:
    (tmp_path / "nvml.txt").unlink()  # the library aborts
    gpus = Gpus()
    assert asyncio.run(gpus.ask()) == []
    assert gpus.uncertain == "The program that asks NVML died (status -6)."


def test_promise_10_many_who_ask_at_once_share_one_helper(nvml: Nvml) -> None:
    nvml.tell(gpu("GPU-aa"), "hang nvmlDeviceGetCount_v2")

    async def scenario() -> None:
        gpus = Gpus(deadline_seconds=600)
        asking = [asyncio.create_task(gpus.ask()) for _ in range(20)]
        running = await asyncio.to_thread(until, probes, what="the helper to run")
        for _ in range(100):
            await asyncio.to_thread(os.getpid)  # through the loop and back
        assert probes() == running
        assert len(running) == 1
        nvml.tell(gpu("GPU-aa"))
        asking[0].cancel()  # its helper goes with it, and the next one asks for all others
        readings = await asyncio.gather(*asking[1:])
        assert {reading.uuid for answer in readings for reading in answer} == {"GPU-aa"}

    asyncio.run(scenario())


def test_a_helper_that_cannot_be_started_is_told(nvml: Nvml) -> None:
    nvml.tell(gpu("GPU-aa"))
    gpus = Gpus()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)

    async def scenario() -> None:
        await gpus.ask()
        resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))  # what is open stays open
        try:
            assert await gpus.ask() == []
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        assert gpus.uncertain == "The program that asks NVML cannot be started: Too many open files."
        assert gpus.uuids == ["GPU-aa"]

    asyncio.run(scenario())
