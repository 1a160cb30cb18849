# SPDX-License-Identifier: Apache-2.0
"""The loss of a prediction by --loss_type: per number, weighted by noise level and mask, then averaged per picture.

Formulas and their order are those of sd-scripts (recorded in tests/sd_scripts/upstream/sd-scripts-losses.json);
everything is computed in fp32. A mask scales the loss, but the mean is still over all numbers, so a picture that is
mostly masked has little weight.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

from library.flow.flow_matching import TIMESTEPS
from library.options.options import Options


def of_pictures(
    prediction_BChw: Tensor,
    target_BChw: Tensor,
    *,
    sigma_B: Tensor,
    timestep_B: Tensor,
    mask_B1hw: Tensor | None,
    options: Options,
) -> Tensor:
    """The loss of each picture, (B,). `sigma_B`: the noise level; `timestep_B`: the level that the model got, 0 to 1.

    The mask is from 0 to 1. If its size is not that of the latents, it is averaged to that size.
    """
    threshold_B = huber_threshold(timestep_B, options)
    losses_BChw = of_numbers(prediction_BChw.float(), target_BChw.float(), options.loss_type, threshold_B)
    if options.model_prediction_type == "sigma_scaled":
        losses_BChw = losses_BChw * level_weight(sigma_B, options.weighting_scheme).view(-1, 1, 1, 1)
    if mask_B1hw is not None:
        losses_BChw = losses_BChw * functional.interpolate(mask_B1hw.float(), size=losses_BChw.shape[2:], mode="area")
    return losses_BChw.mean(dim=(1, 2, 3))


def of_numbers(prediction: Tensor, target: Tensor, loss_type: str, threshold_B: Tensor | None) -> Tensor:
    """The loss of each number: l1, l2, or a pseudo-Huber loss, quadratic near 0 and linear beyond the threshold c:
    huber 2 c (sqrt(x^2 + c^2) - c), smooth_l1 2 (sqrt(x^2 + c^2) - c)."""
    difference = prediction - target
    if loss_type == "l2":
        return difference.square()
    if loss_type == "l1":
        return difference.abs()
    assert threshold_B is not None
    c = threshold_B.view(-1, *[1] * (difference.ndim - 1))
    straightened = 2 * ((difference.square() + c.square()).sqrt() - c)
    return straightened * c if loss_type == "huber" else straightened


def huber_threshold(timestep_B: Tensor, options: Options) -> Tensor | None:
    """The threshold c of each picture, (B,), or None for a loss without one.

    It is constant, or falls exponentially from huber_scale without noise to huber_c * huber_scale at pure noise.
    """
    if options.loss_type not in ("huber", "smooth_l1"):
        return None
    if options.huber_schedule == "constant":
        return torch.full_like(timestep_B, options.huber_c * options.huber_scale, dtype=torch.float32)
    assert options.huber_schedule == "exponential"
    steps = timestep_B.float() * TIMESTEPS
    return torch.exp(math.log(options.huber_c) / TIMESTEPS * steps) * options.huber_scale


def level_weight(sigma_B: Tensor, scheme: str) -> Tensor:
    """The weight of each noise level by --weighting_scheme (the SD3 paper, arXiv 2403.03206)."""
    if scheme == "sigma_sqrt":
        return sigma_B**-2.0
    if scheme == "cosmap":
        return 2 / (math.pi * (1 - 2 * sigma_B + 2 * sigma_B**2))
    return torch.ones_like(sigma_B)


def of_batch(losses_B: Tensor, is_reg_B: Tensor, prior_loss_weight: float) -> Tensor:
    """The mean over the batch, a scalar. Regularisation pictures have the weight --prior_loss_weight."""
    # masked_fill, since torch.where would copy its two numbers to the device and wait for that.
    return (losses_B * torch.ones_like(losses_B).masked_fill(is_reg_B, prior_loss_weight)).mean()
