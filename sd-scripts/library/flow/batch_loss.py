# SPDX-License-Identifier: Apache-2.0
"""The loss of one batch: everything that a step computes on the device, except for the optimizer."""

from __future__ import annotations

import os

import torch
from accelerate import Accelerator  # type: ignore[import-untyped]
from torch import Tensor

from library.compute.transformer import Transformer
from library.family.models import TrainedEncoder
from library.flow import flow_matching, losses
from library.flow.batches import Batch
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
    transformer: Transformer,
    trained: TrainedEncoder | None,
    options: Options,
    accelerator: Accelerator,
    dtype: torch.dtype,
) -> Tensor:
    """The flow-matching loss of one batch, a scalar on the device. `trained`: the text encoder that gets a LoRA;
    `dtype`: the frozen models' type."""
    batch = batch.on(accelerator.device)
    latents_BChw, noise_BChw, sigma_B = batch.latents_BChw, batch.noise_BChw, batch.sigma_B
    noisy_BChw = flow_matching.add_noise(latents_BChw, noise_BChw, sigma_B)
    timestep_B = flow_matching.rounded_timestep(sigma_B, dtype)
    with accelerator.autocast():
        texts = batch.texts if trained is None else trained.condition(batch.texts)
        output_BChw = transformer.velocity(noisy_BChw, texts, timestep_B, guidance=options.guidance_scale).float()
    losses_B = losses.of_pictures(
        flow_matching.interpret(output_BChw, noisy_BChw, sigma_B, options.model_prediction_type),
        noise_BChw - latents_BChw,
        sigma_B=sigma_B,
        timestep_B=timestep_B,
        mask_B1hw=batch.mask_B1hw,
        options=options,
    )
    return losses.of_batch(losses_B, batch.is_reg_B, options.prior_loss_weight)
