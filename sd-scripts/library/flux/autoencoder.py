# SPDX-License-Identifier: Apache-2.0
"""Encodes pictures to latents and decodes them: diffusers' AutoencoderKL with the weights of ae.safetensors, which
has the LDM/BFL layout.

It always computes in fp32. diffusers is imported only if something has to be encoded or decoded. Its
`from_single_file` is not used: without a local config it tries to reach a hub for 25 s (measured, issue 2).

Shape suffixes: B pictures, H W pixels, h w latents (an eighth of H W), C latent channels (16).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from library import garbage
from library.files import safetensors_file
from library.flux.autoencoder_config import SCALE, SHIFT


def diffusers_key(key: str, levels: int) -> str:
    """The file's key -> AutoencoderKL's. The file counts the decoder's levels from the finest, AutoencoderKL from the
    coarsest."""

    def up(match: re.Match[str]) -> str:
        return f"decoder.up_blocks.{levels - 1 - int(match.group(1))}"

    key = re.sub(r"^encoder\.down\.(\d+)", r"encoder.down_blocks.\1", key)
    key = re.sub(r"^decoder\.up\.(\d+)", up, key)
    key = re.sub(r"\.block\.(\d+)", r".resnets.\1", key)
    key = re.sub(r"\.(down|up)sample\.", r".\1samplers.0.", key)
    key = re.sub(r"mid\.block_(\d)", lambda match: f"mid_block.resnets.{int(match.group(1)) - 1}", key)
    key = key.replace("mid.attn_1.norm", "mid_block.attentions.0.group_norm")
    key = re.sub(r"mid\.attn_1\.([qkv])\.", r"mid_block.attentions.0.to_\1.", key)
    key = key.replace("mid.attn_1.proj_out", "mid_block.attentions.0.to_out.0")
    return key.replace("nin_shortcut", "conv_shortcut").replace("norm_out", "conv_norm_out")


def diffusers_tensors(tensors: dict[str, Tensor], levels: int) -> dict[str, Tensor]:
    """The file's tensors under AutoencoderKL's keys. AutoencoderKL's attention has matrices where the file has 1x1
    convolutions."""
    renamed = {}
    for key, tensor in tensors.items():
        name = diffusers_key(key, levels)
        renamed[name] = tensor[:, :, 0, 0] if "attentions" in name and tensor.ndim == 4 else tensor
    return renamed


class Autoencoder:
    """Flux's autoencoder on one device."""

    def __init__(self, path: Path, config: Mapping[str, Any], device: torch.device) -> None:
        """`config`: AutoencoderKL's arguments. Raises TrainerError if the file is not of this config."""
        with garbage.paused():
            from diffusers import AutoencoderKL

        with torch.device("meta"):
            model: Any = AutoencoderKL(**config)
        tensors = diffusers_tensors(safetensors_file.load(path, flag="--ae"), len(config["block_out_channels"]))
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
        posterior = self._model.encode(pixels_B3HW.to(self._device)).latent_dist
        drawn = torch.randn(posterior.mean.shape, generator=generator).to(self._device)
        latents_BChw: Tensor = SCALE * (posterior.mean + posterior.std * drawn - SHIFT)
        return latents_BChw

    @torch.no_grad()
    def decode(self, latents_BChw: Tensor) -> Tensor:
        """Latents -> pixels in [-1, 1], (B, 3, H, W)."""
        pixels: Tensor = self._model.decode(latents_BChw.to(self._device).float() / SCALE + SHIFT).sample
        return pixels.clamp(-1, 1)
