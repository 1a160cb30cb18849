# SPDX-License-Identifier: Apache-2.0
"""The last hour of a GPU: bounded, and at most one point every 10 s."""

from fluxgymd.core.gpu import Reading
from fluxgymd.gpus.history import HOUR_SECONDS, MOST_POINTS, GpuHistory


def reading(uuid: str, load: int | None) -> Reading:
    return Reading(index=0, uuid=uuid, name="a GPU", utilization=load, memory_used=1, power_draw=2.5)


def test_readings_in_quick_succession_are_one_point() -> None:
    history = GpuHistory()
    for second in range(30):
        history.note([reading("a", second), reading("b", None)], now=1000.0 + second)
    first, second_gpu = history.series()
    assert (first.uuid, first.time, first.utilization) == ("a", [1000.0, 1010.0, 1020.0], [0, 10, 20])
    assert (first.memory_used, first.temperature, first.power_draw) == ([1] * 3, [None] * 3, [2.5] * 3)
    assert second_gpu.utilization == [None] * 3
    (later,) = history.series(uuid="a", after=1010.0)
    assert later.time == [1020.0]


def test_only_an_hour_is_kept_and_a_gpu_that_is_gone_is_forgotten() -> None:
    history = GpuHistory()
    history.note([reading("gone", 1)], now=0.0)
    for second in range(0, 86400, 5):
        history.note([reading("a", 1)], now=float(second))
    (series,) = history.series()
    assert series.uuid == "a"
    assert len(series.time) == MOST_POINTS
    assert series.time[-1] - series.time[0] < HOUR_SECONDS


def test_the_history_restarts_if_the_clock_is_set_back() -> None:
    history = GpuHistory()
    history.note([reading("a", 1)], now=5000.0)
    history.note([reading("a", 2)], now=100.0)
    assert history.series()[0].time == [100.0]
