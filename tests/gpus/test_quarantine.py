# SPDX-License-Identifier: Apache-2.0
"""Tests of the quarantine, with the real pynvml on a small NVML: a fault quarantines its GPU once, until the user
clears it."""

import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path

import pytest

from fluxgymd.core.job import Live, fold
from fluxgymd.gpus.machine import Gpus
from fluxgymd.gpus.quarantine import Quarantine
from fluxgymd.store.machine import MachineState
from tests.core import histories as h
from tests.gpus.nvml import Nvml, gpu
from tests.store.small_disk import fill, small_disk

HERE = "m" * 32
TWO = (gpu("GPU-a"), gpu("GPU-b"))


class Bench:
    """A machine's GPUs and their quarantine. `look` asks NVML first."""

    def __init__(self, folder: Path, gpus: Gpus) -> None:
        self.gpus = gpus
        self.machine = MachineState(folder, HERE, "boot")
        self.quarantine = Quarantine(self.machine, gpus)

    async def look(self) -> frozenset[str]:
        await self.gpus.ask()
        return await self.quarantine.look()


def play(folder: Path, scenario: Callable[[Bench], Coroutine[None, None, None]]) -> None:
    async def whole() -> None:
        gpus = Gpus()
        try:
            await scenario(Bench(folder, gpus))
        finally:
            await gpus.close()

    asyncio.run(whole())


def test_promise_4_a_gpu_that_fell_off_the_bus_is_quarantined_and_stays_so(nvml: Nvml, tmp_path: Path) -> None:
    async def scenario(bench: Bench) -> None:
        nvml.tell(*TWO)
        assert await bench.look() == frozenset()
        nvml.tell(*TWO, "lost GPU-a")
        assert await bench.look() == {"GPU-a"}
        assert "GPU 0 is lost" in bench.quarantine.reasons["GPU-a"]
        nvml.tell(*TWO)  # the GPU answers again, but that does not prove that it works
        assert await bench.look() == {"GPU-a"}
        assert set(MachineState(tmp_path, HERE, "boot").quarantine) == {"GPU-a"}
        await bench.quarantine.clear("GPU-a")
        assert await bench.look() == frozenset()

    play(tmp_path, scenario)


def test_promise_4_a_fatal_xid_quarantines_its_gpu_and_another_one_does_not(nvml: Nvml, tmp_path: Path) -> None:
    async def scenario(bench: Bench) -> None:
        nvml.tell(*TWO)
        await bench.look()
        nvml.tell(*TWO, "xid GPU-a 31")
        assert await bench.look() == frozenset()
        nvml.tell(*TWO, "xid GPU-a 31", "xid GPU-b 79")
        assert await bench.look() == {"GPU-b"}
        assert "Xid 79" in bench.quarantine.reasons["GPU-b"]
        await bench.quarantine.clear("GPU-b")
        assert await bench.look() == frozenset(), "an old fault counts once"
        nvml.tell(*TWO, "xid GPU-a 31", "xid GPU-b 79", "xid GPU-b 79")
        assert await bench.look() == {"GPU-b"}

    play(tmp_path, scenario)


def test_promise_4_the_gpus_of_unkillable_processes_are_quarantined(tmp_path: Path) -> None:
    async def scenario(bench: Bench) -> None:
        state = fold(h.WAYS["running"]).state
        assert isinstance(state, Live)
        await bench.quarantine.unkillable("my-lora", state.attempt)
        assert await bench.quarantine.look() == {"GPU-1"}
        one = bench.machine.quarantine["GPU-1"]
        assert (one.job, one.why) == (
            "my-lora",
            "Attempt 1 of the job my-lora ran on it, and its processes cannot be killed.",
        )

    play(tmp_path, scenario)


def test_promise_4_a_disk_that_refuses_makes_no_gpu_usable(nvml: Nvml, tmp_path: Path) -> None:
    nvml.tell(*TWO)
    with small_disk(tmp_path, pages=8) as disk:

        async def scenario(bench: Bench) -> None:
            hog = fill(disk)
            assert await bench.look() == frozenset()
            nvml.tell(*TWO, "lost GPU-a")
            assert await bench.look() == {"GPU-a"}
            assert bench.machine.quarantine == {}
            nvml.tell(*TWO)
            assert await bench.look() == {"GPU-a"}
            with pytest.raises(OSError, match="No space left on device"):
                await bench.quarantine.clear("GPU-a")
            assert await bench.look() == {"GPU-a"}
            hog.unlink()
            await bench.quarantine.clear("GPU-a")
            assert await bench.look() == frozenset()

        play(disk, scenario)
