# SPDX-License-Identifier: Apache-2.0
"""The loss of one batch: everything that a step computes on the device, except for the optimizer."""

from __future__ import annotations

import os

import torch
from accelerate import Accelerator  # type: ignore[import-untyped]
from torch import Tensor, nn

from library.flow import flow_matching, losses
from library.flow.batches import Batch
from library.flux import text_encoders
from library.flux.model import Flux, image_ids, pack, unpack
from library.options.options import Options

# In smaller models a step is so short that OpenMP's threads mostly wait for each other: on a shared 2-core machine it
# took 19 to 25 ms with one thread and 179 to 940 ms with two.
ONE_THREAD_BELOW_PARAMETERS = 50_000_000


def choose_threads(parameters: int) -> None:
    """Uses one CPU thread for tiny models, unless OMP_NUM_THREADS is set."""
    if parameters < ONE_THREAD_BELOW_PARAMETERS and "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(1)


def loss_of(
    batch: Batch,
    *,
    transformer: Flux,
    clip: nn.Module | None,
    options: Options,
    accelerator: Accelerator,
    dtype: torch.dtype,
) -> Tensor:
    """The flow-matching loss of one batch, a scalar on the device. `dtype` is the frozen models' type."""
    batch = batch.on(accelerator.device)
    latents_BChw, noise_BChw, sigma_B = batch.latents_BChw, batch.noise_BChw, batch.sigma_B
    height, width = latents_BChw.shape[2:]
    noisy_BChw = flow_matching.add_noise(latents_BChw, noise_BChw, sigma_B)
    timestep_B = flow_matching.rounded_timestep(sigma_B, dtype)
    with accelerator.autocast():
        pooled_BV = batch.pooled_BV
        if clip is not None and batch.clip_ids_BT is not None:
            pooled_BV = text_encoders.encode_clip(clip, batch.clip_ids_BT)
        output_BIP = transformer(
            pack(noisy_BChw),
            image_ids(height, width, accelerator.device),
            batch.hidden_BTX,
            pooled_BV,
            timestep_B,
            torch.full_like(sigma_B, options.guidance_scale),
        )
    output_BChw = unpack(output_BIP.float(), height, width)
    losses_B = losses.of_pictures(
        flow_matching.interpret(output_BChw, noisy_BChw, sigma_B, options.model_prediction_type),
        noise_BChw - latents_BChw,
        sigma_B=sigma_B,
        timestep_B=timestep_B,
        mask_B1hw=batch.mask_B1hw,
        options=options,
    )
    return losses.of_batch(losses_B, batch.is_reg_B, options.prior_loss_weight)
