# SPDX-License-Identifier: Apache-2.0
"""Rectified flow: x = (1 - s) picture + s noise, and the model predicts the velocity, noise - picture.

s (sigma) is the noise level in [0, 1]. Formulas and names are those of sd-scripts.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from library.options.options import Options

TIMESTEPS = 1000


@dataclass(frozen=True, kw_only=True)
class NoiseLevels:
    """How noise levels are drawn. `scheme` and the fields after it matter only if `sampling` is "sigma"."""

    sampling: str
    sigmoid_scale: float = 1.0
    shift: float = 1.0
    scheme: str = "uniform"
    logit_mean: float = 0.0
    logit_std: float = 1.0
    mode_scale: float = 1.29

    @classmethod
    def of(cls, options: Options) -> Self:
        return cls(
            sampling=options.timestep_sampling,
            sigmoid_scale=options.sigmoid_scale,
            shift=options.discrete_flow_shift,
            scheme=options.weighting_scheme,
            logit_mean=options.logit_mean,
            logit_std=options.logit_std,
            mode_scale=options.mode_scale,
        )

    def draw(self, batch: int, *, tokens: int, generator: torch.Generator) -> Tensor:
        """Draws noise levels (B,). `tokens`, the number of packed image tokens, matters only to flux_shift."""
        if self.sampling == "uniform":
            return torch.rand(batch, generator=generator)
        if self.sampling == "sigma":
            # An index into the scheduler's table of 1000 levels, from the noisiest down.
            index = (self._density(batch, generator) * TIMESTEPS).long().clamp(max=TIMESTEPS - 1)
            return shift_sigma((TIMESTEPS - index) / TIMESTEPS, self.shift)
        sigma = torch.sigmoid(self.sigmoid_scale * torch.randn(batch, generator=generator))
        if self.sampling == "shift":
            return shift_sigma(sigma, self.shift)
        if self.sampling == "flux_shift":
            return shift_sigma(sigma, flux_shift(tokens))
        assert self.sampling == "sigmoid"
        return sigma

    def _density(self, batch: int, generator: torch.Generator) -> Tensor:
        """Draws (B,) in [0, 1] by --weighting_scheme (the SD3 paper, arXiv 2403.03206, section 3.1)."""
        if self.scheme == "logit_normal":
            return torch.sigmoid(self.logit_mean + self.logit_std * torch.randn(batch, generator=generator))
        u = torch.rand(batch, generator=generator)
        if self.scheme == "mode":
            return 1 - u - self.mode_scale * (torch.cos(math.pi * u / 2) ** 2 - 1 + u)
        return u


def shift_sigma(sigma: Tensor, shift: float) -> Tensor:
    """Shifts noise levels towards 1, for a shift S above 1: s S / (1 + (S - 1) s)."""
    return sigma * shift / (1 + (shift - 1) * sigma)


def flux_shift(tokens: int) -> float:
    """The shift of Flux's sampler, e^mu; mu is linear from 0.5 at 256 image tokens to 1.15 at 4096."""
    return math.exp(0.5 + (1.15 - 0.5) * (tokens - 256) / (4096 - 256))


def add_noise(picture_BChw: Tensor, noise_BChw: Tensor, sigma_B: Tensor) -> Tensor:
    sigma = sigma_B.view(-1, 1, 1, 1)
    return (1 - sigma) * picture_BChw + sigma * noise_BChw


def rounded_timestep(sigma_B: Tensor, dtype: torch.dtype) -> Tensor:
    """The level given to the model: 1000 s rounded to the training's type, over 1000. The noise uses s itself."""
    return (sigma_B * TIMESTEPS).to(dtype) / TIMESTEPS


def interpret(output: Tensor, noisy: Tensor, sigma_B: Tensor, prediction_type: str) -> Tensor:
    """The prediction that the model's output stands for, by --model_prediction_type."""
    if prediction_type == "raw":
        return output
    if prediction_type == "additive":
        return output + noisy
    assert prediction_type == "sigma_scaled"
    return noisy - sigma_B.view(-1, 1, 1, 1) * output
