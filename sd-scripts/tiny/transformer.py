# SPDX-License-Identifier: Apache-2.0
"""The tiny transformer: random, but initialised so that its output is close to the noise in its input.

img_in has orthonormal columns and final_layer is a multiple of its transpose, so the base model returns its input,
and its samples are a uniform grey. The gates of the blocks are open, so a LoRA in the blocks affects the output at
once. A plain random model needs far more steps to show any effect.
"""

from __future__ import annotations

import torch
from torch import Tensor

from library import randomness
from library.flux.config import FluxConfig
from library.flux.model import Flux

GATE = 0.3
# Keeps the residual stream close to the input at the start.
BRANCH_SCALE = 0.3
LAST_MODULATION_SCALE = 0.1


def build(config: FluxConfig, *, seed: int, dtype: torch.dtype) -> dict[str, Tensor]:
    """All tensors by key, in `dtype`."""
    with torch.device("meta"):
        shapes = {name: tensor.shape for name, tensor in Flux(config).state_dict().items()}
    tensors = {name: _initial(name, tuple(shape), config.hidden, seed) for name, shape in shapes.items()}
    drawn = torch.randn(
        config.hidden, config.packed_channels, generator=randomness.generator("tiny flux", seed, "basis")
    )
    basis = torch.linalg.qr(drawn).Q
    tensors["img_in.weight"] = basis
    tensors["final_layer.linear.weight"] = basis.T * (config.packed_channels / config.hidden) ** 0.5
    for name in ("img_in.bias", "final_layer.linear.bias", "final_layer.adaLN_modulation.1.bias"):
        tensors[name] = torch.zeros_like(tensors[name])
    return {name: tensor.to(dtype).contiguous() for name, tensor in tensors.items()}


def _initial(name: str, shape: tuple[int, ...], hidden: int, seed: int) -> Tensor:
    if name.endswith(".scale"):
        return torch.ones(shape)
    if name.endswith(("mod.lin.bias", "modulation.lin.bias")):
        return _open_gates(shape[0], hidden)
    if len(shape) == 1:
        return torch.zeros(shape)
    bound = shape[1] ** -0.5
    weight = (torch.rand(shape, generator=randomness.generator("tiny flux", seed, name)) * 2 - 1) * bound
    if name.endswith(("attn.proj.weight", "mlp.2.weight", "linear2.weight")):
        return weight * BRANCH_SCALE
    if name == "final_layer.adaLN_modulation.1.weight":
        return weight * LAST_MODULATION_SCALE
    return weight


def _open_gates(size: int, hidden: int) -> Tensor:
    """A modulation's bias of (shift, scale, gate), once or twice: all zero except the gates."""
    bias = torch.zeros(size // (3 * hidden), 3, hidden)
    bias[:, 2] = GATE
    return bias.flatten()
