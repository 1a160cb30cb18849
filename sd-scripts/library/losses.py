# SPDX-License-Identifier: Apache-2.0
"""The loss of a prediction by --loss_type: of each number, weighted by noise level and mask, then of each picture.

Formulas, and their order, are sd-scripts' (trainers.md 1.7); all is computed in fp32. A mask scales the loss and does
not shorten the mean, so that a picture of which little counts weighs little.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

from library.flow_matching import TIMESTEPS
from library.options import Options


def of_pictures(
    prediction_BChw: Tensor,
    target_BChw: Tensor,
    *,
    sigma_B: Tensor,
    timestep_B: Tensor,
    mask_B1hw: Tensor | None,
    options: Options,
) -> Tensor:
    """The loss of each picture, (B,). `sigma_B` is the noise level, `timestep_B` (0 to 1) what the model was told.

    The mask is 0 to 1, at the latents' size or any other, which is then averaged to theirs.
    """
    threshold_B = huber_threshold(timestep_B, options)
    losses_BChw = of_numbers(prediction_BChw.float(), target_BChw.float(), options.loss_type, threshold_B)
    if options.model_prediction_type == "sigma_scaled":
        losses_BChw = losses_BChw * level_weight(sigma_B, options.weighting_scheme).view(-1, 1, 1, 1)
    if mask_B1hw is not None:
        losses_BChw = losses_BChw * functional.interpolate(mask_B1hw.float(), size=losses_BChw.shape[2:], mode="area")
    return losses_BChw.mean(dim=(1, 2, 3))


def of_numbers(prediction: Tensor, target: Tensor, loss_type: str, threshold_B: Tensor | None) -> Tensor:
    """l1, l2, or the pseudo-Huber losses, which are square near 0 and straight beyond the threshold c:
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
    """c of each picture: constant, or falling from huber_scale at no noise to huber_c times that at only noise."""
    if options.loss_type not in ("huber", "smooth_l1"):
        return None
    if options.huber_schedule == "constant":
        return torch.full_like(timestep_B, options.huber_c * options.huber_scale, dtype=torch.float32)
    assert options.huber_schedule == "exponential"
    steps = timestep_B.float() * TIMESTEPS
    return torch.exp(math.log(options.huber_c) / TIMESTEPS * steps) * options.huber_scale


def level_weight(sigma_B: Tensor, scheme: str) -> Tensor:
    """What a noise level weighs by --weighting_scheme (the SD3 paper, arXiv 2403.03206)."""
    if scheme == "sigma_sqrt":
        return sigma_B**-2.0
    if scheme == "cosmap":
        return 2 / (math.pi * (1 - 2 * sigma_B + 2 * sigma_B**2))
    return torch.ones_like(sigma_B)


def of_batch(losses_B: Tensor, is_reg_B: Tensor, prior_loss_weight: float) -> Tensor:
    """The mean over the batch, a scalar; regularisation pictures weigh --prior_loss_weight."""
    # Filled in, since torch.where would copy its two numbers to the device and wait for that.
    return (losses_B * torch.ones_like(losses_B).masked_fill(is_reg_B, prior_loss_weight)).mean()
