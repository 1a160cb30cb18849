# SPDX-License-Identifier: Apache-2.0
"""Random weights of a Flux, made on the device itself, so that nothing of 24 GB is ever on a disk or sent to it.

A tensor depends only on its name, shape, type and device. So both trainers, each in its own process, get the same
numbers, and `checksum` shows it. Linear layers have gain 1, norms are 1 and biases 0, so activations and losses stay
finite through 57 blocks.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

Shapes = Mapping[str, tuple[int, ...]]


class RandomWeights(Mapping[str, Tensor]):
    """The tensors by name. Each is drawn when it is accessed, and not kept."""

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
        """The sum of all tensors that were accessed so far."""
        return float(torch.stack([self._sums[name] for name in sorted(self._sums)]).sum())
