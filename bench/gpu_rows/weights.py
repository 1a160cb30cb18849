# SPDX-License-Identifier: Apache-2.0
"""Random weights of a Flux, made on the device itself, so that nothing of 24 GB is ever on a disk or sent to it.

A tensor is a function of its name, shape, type and device alone: both trainers, each in its own process, get the
same numbers, and `checksum` shows it. Linear layers have gain 1, norms 1, no bias: activations and losses stay finite
through 57 blocks.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

Shapes = Mapping[str, tuple[int, ...]]


class RandomWeights(Mapping[str, Tensor]):
    """The tensors by name, each drawn when it is asked for and kept by nobody here."""

    def __init__(self, shapes: Shapes, *, device: torch.device, dtype: torch.dtype) -> None:
        self._shapes, self._device, self._dtype = shapes, device, dtype
        self._sums: dict[str, Tensor] = {}

    def __getitem__(self, name: str) -> Tensor:
        tensor = torch.zeros(self._shapes[name], device=self._device, dtype=self._dtype)
        if tensor.ndim == 2:
            generator = torch.Generator(self._device).manual_seed(zlib.crc32(name.encode()))
            tensor.normal_(0.0, tensor.shape[1] ** -0.5, generator=generator)
        elif name.endswith("scale"):
            tensor.fill_(1.0)
        self._sums[name] = tensor.sum(dtype=torch.float64)
        return tensor

    def __iter__(self) -> Iterator[str]:
        return iter(self._shapes)

    def __len__(self) -> int:
        return len(self._shapes)

    @property
    def checksum(self) -> float:
        """The sum of all numbers that were asked for."""
        return float(torch.stack([self._sums[name] for name in sorted(self._sums)]).sum())
