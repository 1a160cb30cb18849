# SPDX-License-Identifier: Apache-2.0
"""Tracks live tensors, to measure the memory of a step on a machine that could never compute that step.

With fake tensors (shapes without numbers) a complete step of FLUX.1 dev takes seconds and no memory. One difference
between GPUs and CPUs is emulated: under autocast a GPU computes a layer norm in fp32.
"""

from __future__ import annotations

import contextlib
import weakref
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from library.flux import model as flux_model


class LiveBytes(TorchDispatchMode):
    """`now` and `peak`: the bytes of all storages that were seen and are alive."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.peak = 0
        self._seen: set[int] = set()

    def know(self, *tensors: Tensor) -> None:
        """Counts tensors that were made before."""
        for tensor in tensors:
            storage = tensor.untyped_storage()
            key, size = storage._cdata, storage.nbytes()
            if key not in self._seen:
                self._seen.add(key)
                self.now += size
                weakref.finalize(storage, self._forget, key, size)
        self.peak = max(self.peak, self.now)

    def _forget(self, key: int, size: int) -> None:
        self._seen.discard(key)
        self.now -= size

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        self.know(*(leaf for leaf in tree_leaves(made) if isinstance(leaf, Tensor)))
        return made


@contextlib.contextmanager
def saved_by_autograd() -> Iterator[list[Tensor]]:
    """A list that collects all tensors that autograd saves for the backward pass within this context."""
    saved: list[Tensor] = []

    def keep(tensor: Tensor) -> Tensor:
        saved.append(tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        yield saved


def storage_bytes(tensors: list[Tensor], *, without: list[Tensor]) -> int:
    """The bytes of the tensors' storages, each counted once, except for the storages of `without`."""
    sizes = {tensor.untyped_storage()._cdata: tensor.untyped_storage().nbytes() for tensor in tensors}
    for tensor in without:
        sizes.pop(tensor.untyped_storage()._cdata, None)
    return sum(sizes.values())


@pytest.fixture
def layer_norm_of_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes `layer_norm` compute in fp32, as autocast does on a GPU but not on a CPU."""

    def layer_norm(x: Tensor) -> Tensor:
        return functional.layer_norm(x.float(), x.shape[-1:], eps=flux_model.EPSILON)

    monkeypatch.setattr(flux_model, "layer_norm", layer_norm)
