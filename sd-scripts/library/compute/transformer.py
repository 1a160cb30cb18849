# SPDX-License-Identifier: Apache-2.0
"""The base class of every family's transformer: its blocks can be checkpointed, compiled and swapped."""

from __future__ import annotations

import abc
import contextlib
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import save_on_cpu
from torch.utils.checkpoint import checkpoint

from library.compute.swap_order import Stacks


class Transformer(nn.Module, abc.ABC):
    """Predicts velocities, and runs each of its blocks with `run`.

    `checkpointed_blocks`: how many blocks, counted from the first, keep only their inputs for the backward pass and
    are computed a second time there. With `inputs_on_host`, those inputs are kept in the host's memory.
    """

    def __init__(self, stacks: Stacks) -> None:
        """`stacks`: the kinds of blocks; each is a ModuleList of this name."""
        super().__init__()
        self.stacks = stacks
        self.checkpointed_blocks = 0
        self.inputs_on_host = False

    @property
    def blocks(self) -> list[nn.Module]:
        """All blocks in the order in which they are computed."""
        return [self.get_submodule(name) for name in self.stacks.names]

    @abc.abstractmethod
    def velocity(self, noisy_BChw: Tensor, texts: Mapping[str, Tensor], t_B: Tensor, *, guidance: float) -> Tensor:
        """The velocity (noise - picture) of noisy latents, (B, C, h, w). `texts`: encoded (`family.models.Text`);
        `t_B`: the noise levels, in [0, 1]; `guidance`: ignored by a model that has none."""

    def run(self, index: int, block: nn.Module, *inputs: Tensor) -> Any:
        """The block's outputs. `index`: its place among all blocks."""
        if index >= self.checkpointed_blocks or not torch.is_grad_enabled():
            return block(*inputs)
        # Tensors that the block itself saves go through checkpoint's hooks, so these hooks see only its inputs.
        kept = save_on_cpu(pin_memory=inputs[0].is_cuda) if self.inputs_on_host else contextlib.nullcontext()
        with kept:
            return checkpoint(block, *inputs, use_reentrant=False)
