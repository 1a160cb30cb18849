# SPDX-License-Identifier: Apache-2.0
"""Noise levels, and what a prediction means, by their formulas."""

from __future__ import annotations

import math

import pytest
import torch

from library import randomness
from library.flow import flow_matching, losses


@pytest.mark.parametrize(
    ("sampling_name", "mean"),
    # E[s] of U(0, 1), of a logistic normal, of one with its mean at 1.15, and of U(0, 1) shifted by 4.
    [
        ("uniform", 0.5),
        ("sigmoid", 0.5),
        ("shift", 0.723),
        ("flux_shift", 0.723),
        ("sigma", 4 / 3 * (1 - math.log(4) / 3)),
    ],
)
def test_noise_levels_follow_the_chosen_schedule(sampling_name: str, mean: float) -> None:
    levels = flow_matching.NoiseLevels(sampling=sampling_name, shift=3.1582 if sampling_name != "sigma" else 4.0)
    drawn = levels.draw(20_000, tokens=4096, generator=randomness.generator("test"))
    assert ((drawn > 0) & (drawn <= 1)).all()
    assert drawn.mean().item() == pytest.approx(mean, abs=0.01)


def test_flux_shift_is_the_published_line() -> None:
    assert flow_matching.flux_shift(4096) == pytest.approx(math.exp(1.15)) == pytest.approx(3.1582, abs=1e-4)
    assert flow_matching.flux_shift(256) == pytest.approx(math.exp(0.5))
    # e^mu / (e^mu + 1/s - 1), as it is usually written
    s = torch.tensor([0.2, 0.7])
    shift = flow_matching.flux_shift(1024)
    assert torch.allclose(flow_matching.shift_sigma(s, shift), shift / (shift + 1 / s - 1))


def test_a_correct_prediction_has_no_loss() -> None:
    picture, noise = torch.randn(2, 4, 6, 6), torch.randn(2, 4, 6, 6)
    sigma = torch.tensor([0.2, 0.8])
    noisy = flow_matching.add_noise(picture, noise, sigma)
    target = noise - picture
    assert torch.allclose(noisy[1], 0.2 * picture[1] + 0.8 * noise[1])
    outputs = {"raw": target, "additive": target - noisy, "sigma_scaled": (noisy - target) / sigma.view(-1, 1, 1, 1)}
    for prediction_type, output in outputs.items():
        prediction = flow_matching.interpret(output, noisy, sigma, prediction_type)
        assert losses.of_numbers(prediction, target, "l2", None).max() < 1e-10
    assert losses.of_numbers(target + 2, target, "l2", None).mean().item() == pytest.approx(4)


def test_timesteps_are_rounded_to_the_type_of_the_training() -> None:
    sigma = torch.tensor([0.123456])
    assert flow_matching.rounded_timestep(sigma, torch.float32) == pytest.approx(0.123456)
    assert flow_matching.rounded_timestep(sigma, torch.bfloat16).float() == pytest.approx(0.1235, abs=1e-4)
