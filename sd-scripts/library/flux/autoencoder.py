# SPDX-License-Identifier: Apache-2.0
"""Encodes pictures to latents and decodes them, with the weights of ae.safetensors. It always computes in fp32.

Shape suffixes: B pictures, H W pixels, h w latents (an eighth of H W), C latent channels (16).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from library.files import safetensors_file
from library.flux.autoencoder_config import SCALE, SHIFT
from library.flux.autoencoder_model import AutoencoderModel


def _as_matrices(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The file's tensors, with matrices for the attention's 1x1 convolutions."""
    return {
        key: tensor[:, :, 0, 0] if ".attn_1." in key and tensor.ndim == 4 else tensor
        for key, tensor in tensors.items()
    }


class Autoencoder:
    """Flux's autoencoder on one device."""

    def __init__(self, path: Path, config: Mapping[str, Any], device: torch.device) -> None:
        """`config`: that of `autoencoder_config.read_config`. Raises TrainerError if the file does not fit it."""
        with torch.device("meta"):
            model = AutoencoderModel(config)
        tensors = _as_matrices(safetensors_file.load(path, flag="--ae"))
        safetensors_file.assign(model, tensors, torch.float32, str(path))
        self._model = model.to(device)
        self._device = device

    def to(self, device: torch.device) -> None:
        """Moves the model to another device. After a torch.OutOfMemoryError it can be moved back."""
        self._device = device
        self._model.to(device)

    @torch.no_grad()
    def encode(self, pixels_B3HW: Tensor, generator: torch.Generator) -> Tensor:
        """Pixels in [-1, 1] -> latents (B, C, h, w), drawn from the posterior with `generator`, shifted, scaled."""
        mean_BChw, deviation_BChw = self._model.encode(pixels_B3HW.to(self._device))
        drawn_BChw = torch.randn(mean_BChw.shape, generator=generator).to(self._device)
        latents_BChw: Tensor = SCALE * (mean_BChw + deviation_BChw * drawn_BChw - SHIFT)
        return latents_BChw

    @torch.no_grad()
    def decode(self, latents_BChw: Tensor) -> Tensor:
        """Latents -> pixels in [-1, 1], (B, 3, H, W)."""
        pixels_B3HW = self._model.decode(latents_BChw.to(self._device).float() / SCALE + SHIFT)
        return pixels_B3HW.clamp(-1, 1)
