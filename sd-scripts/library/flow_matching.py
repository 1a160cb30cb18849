# SPDX-License-Identifier: Apache-2.0
"""Rectified flow: x = (1 - s) picture + s noise, and the model is to tell the velocity, noise - picture.

Formulas and names are sd-scripts' (trainers.md 1.7). s (sigma) is the noise level in [0, 1].
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

TIMESTEPS = 1000


def draw_sigma(
    batch: int, *, sampling: str, sigmoid_scale: float, shift: float, tokens: int, generator: torch.Generator
) -> Tensor:
    """Noise levels (B,) by --timestep_sampling. `tokens` (packed image tokens) matters to flux_shift only."""
    if sampling == "uniform":
        return torch.rand(batch, generator=generator)
    if sampling == "sigma":
        # An index into the scheduler's table of 1000 levels, from the noisiest down.
        index = (torch.rand(batch, generator=generator) * TIMESTEPS).long()
        return shift_sigma((TIMESTEPS - index) / TIMESTEPS, shift)
    sigma = torch.sigmoid(sigmoid_scale * torch.randn(batch, generator=generator))
    if sampling == "shift":
        return shift_sigma(sigma, shift)
    if sampling == "flux_shift":
        return shift_sigma(sigma, flux_shift(tokens))
    assert sampling == "sigmoid"
    return sigma


def shift_sigma(sigma: Tensor, shift: float) -> Tensor:
    """Moves noise levels towards 1: s S / (1 + (S - 1) s)."""
    return sigma * shift / (1 + (shift - 1) * sigma)


def flux_shift(tokens: int) -> float:
    """The shift of Flux's sampler, e^mu; mu is linear from 0.5 at 256 image tokens to 1.15 at 4096."""
    return math.exp(0.5 + (1.15 - 0.5) * (tokens - 256) / (4096 - 256))


def add_noise(picture_BChw: Tensor, noise_BChw: Tensor, sigma_B: Tensor) -> Tensor:
    sigma = sigma_B.view(-1, 1, 1, 1)
    return (1 - sigma) * picture_BChw + sigma * noise_BChw


def rounded_timestep(sigma_B: Tensor, dtype: torch.dtype) -> Tensor:
    """The level as the model is told it: 1000 s rounded to the training's type, while the noise uses s itself."""
    return (sigma_B * TIMESTEPS).to(dtype) / TIMESTEPS


def interpret(output: Tensor, noisy: Tensor, sigma_B: Tensor, prediction_type: str) -> Tensor:
    """The model's output by --model_prediction_type."""
    if prediction_type == "raw":
        return output
    if prediction_type == "additive":
        return output + noisy
    assert prediction_type == "sigma_scaled"
    return noisy - sigma_B.view(-1, 1, 1, 1) * output


def l2_loss(prediction_BChw: Tensor, target_BChw: Tensor) -> Tensor:
    """Mean square error: of each picture, then over the batch. In fp32."""
    squares = (prediction_BChw.float() - target_BChw.float()) ** 2
    return squares.mean(dim=(1, 2, 3)).mean()
