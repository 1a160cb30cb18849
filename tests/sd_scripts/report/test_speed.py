# SPDX-License-Identifier: Apache-2.0
"""The speed that is computed from the FLOPs of a step."""

from __future__ import annotations

import pytest

from library.report import speed
from library.report.speed import PictureCost, Speed, Speedometer


@pytest.mark.parametrize(
    ("name", "tera"),
    [
        ("NVIDIA H100 80GB HBM3", 989),
        ("NVIDIA H100 PCIe", 756),
        ("NVIDIA H200", 989),
        ("NVIDIA A100-SXM4-80GB", 312),
        ("NVIDIA GeForce RTX 4090", 165),
        ("NVIDIA GeForce RTX 3090 Ti", 80),
        ("NVIDIA L40S", 362),
        ("NVIDIA L4", 121),
        ("AMD Instinct MI300X", None),
    ],
)
def test_the_peak_of_a_device_is_found_by_its_name(name: str, tera: float | None) -> None:
    peak = speed.peak_of(name)
    assert (peak and peak / 1e12) == tera


def test_the_speed_is_a_median_without_the_first_steps() -> None:
    meter = Speedometer(peak=1000.0)
    for _ in range(speed.WARM_UP_STEPS):
        meter.add(seconds=100, images=1, flops=1)
        assert meter.speed is None
    for seconds in (2, 2, 2, 50):
        meter.add(seconds=seconds, images=4, flops=800)
    assert meter.speed == Speed(seconds_per_step=2, images_per_second=2, mfu=0.4)


def test_the_speed_is_written_for_people() -> None:
    told = Speed(seconds_per_step=0.1234, images_per_second=8.1, mfu=0.456)
    assert speed.sentence(told, peak_memory=55_100_000_000, on_gpu=True) == (
        "speed: 0.123 s per step, 8.10 images/s, 46% of the GPU's peak (MFU), peak GPU memory 55.1 GB"
    )
    unknown = Speed(seconds_per_step=1, images_per_second=1, mfu=None)
    assert "MFU" not in speed.sentence(unknown, peak_memory=1, on_gpu=False)


def test_the_cost_of_a_picture_is_computed_once_for_each_size() -> None:
    asked = []

    def flops(tokens: int) -> int:
        asked.append(tokens)
        return 100 * tokens

    cost = PictureCost(flops, latents_per_token=4)
    assert [cost.of(8, 8), cost.of(16, 8), cost.of(8, 8), cost.of(8, 16)] == [1600, 3200, 1600, 3200]
    assert asked == [16, 32]
