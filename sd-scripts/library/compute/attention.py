# SPDX-License-Identifier: Apache-2.0
"""Chooses the kernel of PyTorch's scaled_dot_product_attention.

The choice depends only on the GPU, the training's type and `--deterministic`, so a resumed run on the same kind of
GPU chooses the same kernel. PyTorch tries the chosen kernel first; the kernels after it in `KERNELS` compute what the
chosen one cannot, such as heads of an odd width.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypedDict, Unpack

from torch.nn.attention import SDPBackend, sdpa_kernel

PYTORCH_CHOOSES = "sdpa"
# Fastest first. The last one computes anything.
KERNELS = {
    "cudnn": SDPBackend.CUDNN_ATTENTION,
    "flash": SDPBackend.FLASH_ATTENTION,
    "efficient": SDPBackend.EFFICIENT_ATTENTION,
    "math": SDPBackend.MATH,
}
# Compute capabilities of data-centre Hopper and Blackwell. cuDNN has special kernels for these; elsewhere flash is as
# fast.
CUDNN_IS_FASTEST = (9, 10)
# Ampere: the first generation for which cuDNN and flash have bf16 kernels.
FIRST_WITH_FLASH = 8


class Circumstances(TypedDict):
    """What the choice depends on. `capability`: the GPU's compute capability ((9, 0) is Hopper), None on a CPU.
    `sixteen_bits`: whether the training computes in bf16."""

    capability: tuple[int, int] | None
    sixteen_bits: bool
    deterministic: bool


def choose(**here: Unpack[Circumstances]) -> str:
    """The fastest kernel that can be used. On a CPU, PyTorch chooses."""
    capability = here["capability"]
    if capability is None:
        return PYTORCH_CHOOSES
    for name in KERNELS:
        if name == "cudnn" and capability[0] not in CUDNN_IS_FASTEST:
            continue
        if obstacle(name, **here) is None:
            return name
    raise AssertionError("math has no obstacle")


def obstacle(name: str, **here: Unpack[Circumstances]) -> str | None:
    """Why a kernel cannot be used, as the end of a sentence; None if it can."""
    capability = here["capability"]
    if name in (PYTORCH_CHOOSES, "math"):
        return None
    if capability is None:
        return None if name == "flash" else "needs an NVIDIA GPU"
    if here["deterministic"] and name not in _same_each_time():
        return "adds up its gradients in a different order each time, which --deterministic forbids"
    if name != "efficient" and capability[0] < FIRST_WITH_FLASH:
        return f"needs a GPU of compute capability {FIRST_WITH_FLASH}.0 (Ampere) or later"
    if name != "efficient" and not here["sixteen_bits"]:
        return "needs --mixed_precision bf16"
    return None


@contextmanager
def using(name: str, *, deterministic: bool) -> Iterator[None]:
    """A context in which PyTorch tries this kernel first, in all threads and in backward passes too."""
    if name == PYTORCH_CHOOSES:
        yield
        return
    names = list(KERNELS)
    behind = [other for other in names[names.index(name) :] if not deterministic or other in _same_each_time()]
    with sdpa_kernel([KERNELS[other] for other in behind], set_priority=True):
        yield


def _same_each_time() -> tuple[str, ...]:
    """Kernels whose backward pass gives the same bits each time.

    torch.use_deterministic_algorithms switches flash to a deterministic mode; under it, PyTorch skips cuDNN's kernel,
    and the efficient one raises an error (aten/src/ATen/native/transformers/cuda).
    """
    return ("flash", "math")
