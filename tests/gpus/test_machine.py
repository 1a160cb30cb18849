# SPDX-License-Identifier: Apache-2.0
"""Tests of what the daemon knows about its GPUs: only what NVML has answered. Its loop never waits for NVML."""

import asyncio
import os
import resource
import signal
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from fluxgymd.core.gpu import Reading
from fluxgymd.gpus import asking
from fluxgymd.gpus.machine import MOST_OF_A_KIND, Gpus
from tests.gpus.nvml import Nvml, gpu
from tests.harness.hung_volume import HungVolume
from tests.harness.waiting import until, until_async

Scenario = Callable[[Gpus], Coroutine[None, None, None]]


def probes() -> list[int]:
    """Returns the pids of this test run's live helper processes."""
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


def play(scenario: Scenario, **options: Any) -> None:
    """Runs the scenario in a new event loop, and checks that no helper is left."""

    async def whole() -> None:
        gpus = Gpus(**options)
        try:
            await scenario(gpus)
        finally:
            await gpus.close()

    asyncio.run(whole())
    until(lambda: not probes(), what="the helper to be gone")


async def uuids(gpus: Gpus) -> list[str]:
    return [reading.uuid for reading in await gpus.ask()]


async def until_told(gpus: Gpus, *wanted: str) -> None:
    """Asks until NVML reports these UUIDs. A helper may have been killed, or may start too slowly for a short
    deadline."""

    async def told() -> bool:
        return await uuids(gpus) == list(wanted)

    await until_async(told, what=f"{wanted} to be told")


def test_before_the_first_query_of_nvml_nothing_is_known_and_nothing_is_wrong() -> None:
    gpus = Gpus()
    assert not gpus.asked
    assert (gpus.uuids, gpus.uncertain, gpus.problem, gpus.of([])) == ([], None, None, ())
    assert gpus.of(["GPU-aa"]) is None


def test_the_gpus_are_known_after_the_first_query(nvml: Nvml) -> None:
    nvml.tell(gpu("GPU-aa"), gpu("GPU-bb"))

    async def scenario(gpus: Gpus) -> None:
        assert await uuids(gpus) == gpus.uuids == ["GPU-aa", "GPU-bb"]
        assert gpus.asked
        assert (gpus.uncertain, gpus.problem) == (None, None)
        told = gpus.of(["GPU-bb"])
        assert told is not None
        assert [reading.uuid for reading in told] == ["GPU-bb"]

    play(scenario)


def test_one_helper_lasts_from_question_to_question(nvml: Nvml) -> None:
    async def scenario(gpus: Gpus) -> None:
        nvml.tell(gpu("GPU-aa", utilization=3))
        assert [reading.utilization for reading in await gpus.ask()] == [3]
        first = probes()
        nvml.tell(gpu("GPU-aa", utilization=97))
        assert [reading.utilization for reading in await gpus.ask()] == [97]
        assert probes() == first
        assert len(first) == 1

    play(scenario)


def test_a_helper_that_was_killed_between_two_questions_is_replaced(nvml: Nvml) -> None:
    nvml.tell(gpu("GPU-aa"))

    async def scenario(gpus: Gpus) -> None:
        await gpus.ask()
        os.kill(probes()[0], signal.SIGKILL)
        await asyncio.to_thread(until, lambda: not probes(), what="the helper to be gone")
        await until_told(gpus, "GPU-aa")

    play(scenario)


def test_an_idle_helper_is_ended_and_another_started_on_demand(nvml: Nvml) -> None:
    nvml.tell(gpu("GPU-aa"))

    async def scenario(gpus: Gpus) -> None:
        await gpus.ask()
        await asyncio.to_thread(until, lambda: not probes(), what="the helper to be ended")
        assert await uuids(gpus) == ["GPU-aa"]

    play(scenario, rest_seconds=0.05)


def test_without_a_driver_no_helper_stays(nvml: Nvml) -> None:
    nvml.tell("error nvmlInitWithFlags 9")

    async def scenario(gpus: Gpus) -> None:
        assert await gpus.ask() == ()
        assert gpus.uncertain is None
        assert probes() == []
        nvml.tell(gpu("GPU-aa"))
        assert await uuids(gpus) == ["GPU-aa"]

    play(scenario)


def test_a_recent_answer_is_shared(nvml: Nvml) -> None:
    async def scenario(gpus: Gpus) -> None:
        nvml.tell(gpu("GPU-aa", utilization=3))
        await gpus.ask()
        nvml.tell(gpu("GPU-aa", utilization=97))
        assert [reading.utilization for reading in await gpus.ask(max_age=3600)] == [3]
        assert [reading.utilization for reading in await gpus.ask()] == [97]

    play(scenario)


def test_promise_4_a_driver_that_fails_takes_no_gpu_away_and_nothing_is_certain(nvml: Nvml) -> None:
    nvml.tell(gpu("GPU-aa"))

    async def scenario(gpus: Gpus) -> None:
        await gpus.ask()
        nvml.tell(gpu("GPU-aa"), "error nvmlDeviceGetUUID 999")
        assert await gpus.ask() == ()
        assert gpus.uuids == ["GPU-aa"]
        assert gpus.of(["GPU-aa"]) is None
        assert [gpus.uncertain, gpus.problem] == ["NVML does not answer: GPU 0: Unknown Error."] * 2

        nvml.tell(gpu("GPU-aa"))
        assert await uuids(gpus) == ["GPU-aa"]
        assert [gpus.uncertain, gpus.problem] == [None, None]

    play(scenario)


def test_promise_7_a_gpu_that_fell_off_the_bus_is_reported_and_hides_no_other(nvml: Nvml) -> None:
    nvml.tell(gpu("GPU-aa"), gpu("GPU-bb", "NVIDIA L4"))

    async def scenario(gpus: Gpus) -> None:
        await gpus.ask()
        nvml.tell(gpu("GPU-aa", utilization=50), gpu("GPU-bb", "NVIDIA L4"), "xid GPU-bb 79", "lost GPU-bb")
        first, second = await gpus.ask()
        assert (first.uuid, first.lost, first.utilization) == ("GPU-aa", False, 50)
        assert second == Reading(index=1, uuid="GPU-bb", name="NVIDIA L4", xids=(79,), lost=True)
        assert gpus.uuids == ["GPU-aa", "GPU-bb"]
        assert gpus.lost == ("GPU-bb",)
        assert gpus.uncertain is None
        assert gpus.problem == "GPU 1 is lost: it fell off the bus. The others still work."

    play(scenario)


def test_promise_7_a_gpu_that_a_working_nvml_does_not_list_any_more_is_lost(nvml: Nvml) -> None:
    nvml.tell(gpu("GPU-aa"), gpu("GPU-bb"))

    async def scenario(gpus: Gpus) -> None:
        await gpus.ask()
        nvml.tell(gpu("GPU-aa"))
        await gpus.ask()
        assert gpus.of(["GPU-bb"]) == (Reading(index=1, uuid="GPU-bb", name="NVIDIA H200", lost=True),)
        assert gpus.of(["GPU-cc"]) == (Reading(index=-1, uuid="GPU-cc", name="unknown", lost=True),)
        # While the driver is being replaced, NVML cannot be initialised, and nothing is known.
        nvml.tell("error nvmlInitWithFlags 9")
        await gpus.close()
        await gpus.ask()
        assert gpus.of(["GPU-bb"]) is None

    play(scenario)


def test_xids_are_kept_in_their_order_over_questions_and_helpers(nvml: Nvml) -> None:
    lines = [gpu("GPU-aa"), gpu("GPU-bb"), "xid GPU-aa 13"]

    async def scenario(gpus: Gpus) -> None:
        async def xids() -> list[tuple[int, ...]]:
            nvml.tell(*lines)
            return [reading.xids for reading in await gpus.ask()]

        assert await xids() == [(), ()], "what came before is not told"
        lines.extend(["xid GPU-aa 31", "xid GPU-bb 48", "xid GPU-aa 31"])
        assert await xids() == [(31, 31), (48,)]
        assert await xids() == [(31, 31), (48,)]
        await gpus.close()
        assert await xids() == [(31, 31), (48,)]
        lines.extend(["xid GPU-aa 43"] * (MOST_OF_A_KIND + 5) + ["xid GPU-aa 79"])
        assert await xids() == [(31, 31, *[43] * MOST_OF_A_KIND, 79), (48,)]

    play(scenario)


@pytest.mark.parametrize(
    "function", ["nvmlInitWithFlags", "nvmlDeviceGetUtilizationRates", "nvmlEventSetWait_v2", "nvmlEventSetCreate"]
)
def test_promise_7_an_nvml_that_hangs_is_given_up_and_nothing_is_known(nvml: Nvml, function: str) -> None:
    nvml.tell(gpu("GPU-aa"), f"hang {function}")

    async def scenario(gpus: Gpus) -> None:
        assert await gpus.ask() == ()
        assert gpus.uncertain == "NVML did not answer within 0.5 s."
        assert gpus.of(["GPU-aa"]) is None
        assert probes() == []
        nvml.tell(gpu("GPU-aa"))
        await until_told(gpus, "GPU-aa")

    play(scenario, deadline_seconds=0.5)


def test_promise_7_readings_from_before_a_hang_are_not_reported_as_current(nvml: Nvml) -> None:
    nvml.tell(gpu("GPU-aa", utilization=97))

    async def scenario(gpus: Gpus) -> None:
        await until_told(gpus, "GPU-aa")
        nvml.tell(gpu("GPU-aa", utilization=97), "hang nvmlDeviceGetUtilizationRates")
        assert await gpus.ask() == ()
        assert gpus.of(["GPU-aa"]) is None
        assert gpus.uuids == ["GPU-aa"]

    play(scenario, deadline_seconds=2.0)


def test_helpers_that_cannot_be_killed_are_left_behind_and_no_more_than_three(
    nvml: Nvml, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The helpers hang in state D, as in a driver: a kill takes effect only when the volume ends."""
    monkeypatch.setattr(asking, "KILL_SECONDS", 0.05)
    volume = tmp_path / "volume"
    volume.mkdir()

    async def scenario(gpus: Gpus) -> None:
        with HungVolume(volume):
            nvml.tell(gpu("GPU-aa"), f"hang nvmlDeviceGetUUID {volume / 'file'}")

            async def all_hang() -> bool:
                await gpus.ask()
                assert gpus.uncertain == "NVML did not answer within 1 s."
                return len(probes()) == asking.LEFT_BEHIND

            await until_async(all_hang, what="three helpers to hang")
            nvml.tell(gpu("GPU-aa"))
            assert await gpus.ask() == ()
            assert gpus.uncertain == (
                "NVML does not answer: 3 helpers that asked it hang and cannot be killed. Reboot the machine."
            )
            assert len(probes()) == asking.LEFT_BEHIND
        await until_told(gpus, "GPU-aa")
        assert gpus.uncertain is None

    play(scenario, deadline_seconds=1.0)


def test_the_loop_continues_while_nvml_hangs_and_a_caller_that_gives_up_ends_no_helper(nvml: Nvml) -> None:
    nvml.tell(gpu("GPU-aa"), "hang nvmlDeviceGetCount_v2")

    async def scenario(gpus: Gpus) -> None:
        waiting = asyncio.create_task(gpus.ask())
        running = await asyncio.to_thread(until, probes, what="the helper to run")
        for _ in range(100):
            await asyncio.to_thread(os.getpid)  # lets the loop run
        assert not waiting.done()
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert probes() == running

    play(scenario, deadline_seconds=600)


def test_a_helper_that_dies_is_reported(nvml: Nvml, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "nvml.txt").unlink()  # without this file the library aborts
    monkeypatch.setattr(asking, "KILL_SECONDS", 600)

    async def scenario(gpus: Gpus) -> None:
        assert await gpus.ask() == ()
        assert gpus.uncertain == "The program that asks NVML died (status -6)."

    play(scenario)


def test_a_helper_that_is_dying_is_not_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its pipe closes before it becomes a zombie. A kill in between used to report status 255 or -9 instead, once in
    a few hundred deaths."""
    dying = ("/bin/sh", "-c", "exec >&-; sleep 0.1; kill -ABRT $$")
    monkeypatch.setattr(asking, "COMMAND", dying)
    monkeypatch.setattr(asking, "KILL_SECONDS", 600)

    async def scenario(gpus: Gpus) -> None:
        assert await gpus.ask() == ()
        assert gpus.uncertain == "The program that asks NVML died (status -6)."

    play(scenario)


def test_promise_10_many_who_ask_at_once_share_one_helper_and_one_answer(nvml: Nvml) -> None:
    nvml.tell(gpu("GPU-aa"), "hang nvmlDeviceGetCount_v2")

    async def scenario(gpus: Gpus) -> None:
        waiting = [asyncio.create_task(gpus.ask()) for _ in range(20)]
        running = await asyncio.to_thread(until, probes, what="the helper to run")
        for _ in range(100):
            await asyncio.to_thread(os.getpid)  # lets the loop run
        assert probes() == running
        assert len(running) == 1
        late = asyncio.create_task(gpus.ask())  # an earlier question does not answer this call
        nvml.tell(gpu("GPU-aa"))
        os.kill(running[0], signal.SIGKILL)
        assert set(await asyncio.gather(*waiting)) == {()}
        assert [reading.uuid for reading in await late] == ["GPU-aa"]

    play(scenario, deadline_seconds=600)


def test_a_helper_that_cannot_be_started_is_reported(nvml: Nvml) -> None:
    nvml.tell(gpu("GPU-aa"))
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)

    async def scenario(gpus: Gpus) -> None:
        await gpus.ask()
        await gpus.close()
        resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))  # open files stay open
        try:
            assert await gpus.ask() == ()
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        assert gpus.uncertain == "The program that asks NVML cannot be started: Too many open files."
        assert gpus.uuids == ["GPU-aa"]

    play(scenario)
