# SPDX-License-Identifier: Apache-2.0
"""A moving average of the LoRA's weights (--ema_decay), saved as NAME-ema.safetensors beside each LoRA.

The decay rises with the steps, (1 + n) / (10 + n) up to --ema_decay, so that a short training's average is not of its
start; that is the rule of diffusers' EMAModel without its other warm-up. It is a function of the step alone, so a
resumed run goes on exactly.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch
from torch import Tensor

from library.lora import LoRANetwork


def decay_at(step: int, most: float) -> float:
    """The share of the average that stays at optimizer step `step` (from 1); 0 at the first."""
    before = step - 1
    return min(most, (1 + before) / (10 + before)) if before > 0 else 0.0


class MovingAverage:
    """The average of one network's weights, on their device, in fp32."""

    def __init__(self, network: LoRANetwork, *, decay: float) -> None:
        self._parameters: list[Tensor] = list(network.parameters())
        self._decay = decay
        self._averages = [parameter.detach().clone() for parameter in self._parameters]

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Takes in the weights after optimizer step `step` (from 1). Nothing is read back from the device."""
        torch._foreach_lerp_(self._averages, self._parameters, 1 - decay_at(step, self._decay))

    @torch.no_grad()
    def restart(self) -> None:
        """Begins anew with the present weights."""
        torch._foreach_copy_(self._averages, self._parameters)

    @contextlib.contextmanager
    def in_network(self) -> Iterator[None]:
        """Within it the network's weights are the average; what is written to them is written to the average."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    @torch.no_grad()
    def _swap(self) -> None:
        for parameter, average in zip(self._parameters, self._averages, strict=True):
            kept = parameter.detach().clone()
            parameter.copy_(average)
            average.copy_(kept)
