# SPDX-License-Identifier: Apache-2.0
"""A moving average of the LoRA's weights (--ema_decay), saved as NAME-ema.safetensors beside each LoRA.

The decay rises with the steps as (1 + n) / (10 + n), up to --ema_decay, so that the start does not dominate the
average of a short training. This is the rule of diffusers' EMAModel without its `use_ema_warmup`. The decay depends
only on the step, so a resumed run continues exactly.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch
from torch import Tensor

from library.lora.lora import LoRANetwork


def decay_at(step: int, most: float) -> float:
    """The weight of the previous average at optimizer step `step` (from 1); 0 at the first step."""
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
        """Updates the average after optimizer step `step` (from 1). Reads nothing back from the device."""
        torch._foreach_lerp_(self._averages, self._parameters, 1 - decay_at(step, self._decay))

    @torch.no_grad()
    def restart(self) -> None:
        """Sets the average to the current weights."""
        torch._foreach_copy_(self._averages, self._parameters)

    @contextlib.contextmanager
    def in_network(self) -> Iterator[None]:
        """A context in which the network's weights are the average. Changes made to them there go to the average."""
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
