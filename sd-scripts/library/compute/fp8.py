# SPDX-License-Identifier: Apache-2.0
"""Keeps the large matrices of a frozen transformer in 8 bits: float8_e4m3fn, with a scale for each output row.

Only the weights are in 8 bits; products are computed in the training's type. A matrix is converted to that type for
one product and then freed: between forward and backward, autograd keeps only the 8-bit matrix, which exists anyway.
docs/decisions/0052-fp8-base.md says how the scales are chosen.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from library.compute.transformer import Transformer

TYPE = torch.float8_e4m3fn
LARGEST = torch.finfo(TYPE).max


def quantise(weight: Tensor) -> tuple[Tensor, Tensor]:
    """A matrix (out, in) of any type -> the matrix in e4m3, and its scales (out,) in fp32.

    A row is its e4m3 numbers times its scale, a power of two such that its largest number in e4m3 is at most 448 and
    more than 111. A row of zeros has scale 1.
    """
    if weight.dtype.itemsize == 1:
        weight = weight.float()  # PyTorch has no fp8 arithmetic
    low, high = weight.aminmax(dim=1)
    largest = torch.maximum(-low, high).float()
    exponent = torch.frexp(largest / LARGEST).exponent
    one = torch.ones_like(largest)
    return (weight * torch.ldexp(one, -exponent)[:, None]).to(TYPE), torch.ldexp(one, exponent)


def of_file(weight: Tensor, scale: Tensor | None) -> tuple[Tensor, Tensor]:
    """A matrix as the file has it, with the file's scale if there is one -> the matrix in e4m3, and scales (out,).

    A matrix that is already in e4m3 keeps its bits and its scale, which may be one for all rows or one per row.
    Raises ValueError for any other number of scales.
    """
    rows = len(weight)
    if scale is not None and scale.numel() not in (1, rows):
        raise ValueError(f"has {scale.numel()} scales for {rows} rows; it must have 1 or {rows}")
    scales = torch.ones(rows, device=weight.device) if scale is None else scale.float().flatten().expand(rows)
    if weight.dtype == TYPE:
        return weight, scales.contiguous()
    return quantise(weight if scale is None else weight.float() * scales[:, None])


# An operator that is opaque to compilers. Otherwise they convert a matrix once for both directions and keep the
# result in between, which stores each weight a second time, in 16 bits.
torch.library.define("fluxgym::matmul_fp8", "(Tensor x, Tensor matrix) -> Tensor")


@torch.library.impl("fluxgym::matmul_fp8", "default")
def _matmul(x: Tensor, matrix: Tensor) -> Tensor:
    return x @ matrix.to(x.dtype)


@torch.library.register_fake("fluxgym::matmul_fp8")
def _shape_of_matmul(x: Tensor, matrix: Tensor) -> Tensor:
    return x.new_empty(*x.shape[:-1], matrix.shape[1])


class _Product(torch.autograd.Function):
    """x (..., in), frozen weight (out, in) -> x W^T (..., out). The gradient is dx = dy W."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(weight)
        product: Tensor = torch.ops.fluxgym.matmul_fp8(x, weight.t())
        return product

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        (weight,) = ctx.saved_tensors
        return torch.ops.fluxgym.matmul_fp8(grad, weight), None


class Fp8Linear(nn.Linear):
    """A frozen Linear whose `weight` is e4m3, with `scale_weight` (out,) beside it; `bias` is as in any Linear.

    It computes in autocast's type, or without autocast in the input's. The scales multiply the outputs, not the
    weights: for powers of two the result is the same, bit for bit, and no scaled copy of the weights is written.
    """

    scale_weight: Tensor

    def __init__(self, in_features: int, out_features: int) -> None:
        super().__init__(in_features, out_features)
        self.weight = nn.Parameter(torch.empty(out_features, in_features, dtype=TYPE), requires_grad=False)
        self.register_buffer("scale_weight", torch.ones(out_features))

    def forward(self, x: Tensor) -> Tensor:
        if torch.is_autocast_enabled(x.device.type):
            x = x.to(torch.get_autocast_dtype(x.device.type))
        product: Tensor = _Product.apply(x, self.weight)
        return torch.addcmul(self.bias.to(x.dtype), product, self.scale_weight.to(x.dtype))


def convert(transformer: Transformer) -> None:
    """Replaces each Linear of the blocks by an `Fp8Linear` that has yet to be filled. The layers outside the blocks
    are small."""
    for name, module in list(transformer.named_modules()):
        if type(module) is nn.Linear and name.startswith(transformer.stacks.prefixes):
            transformer.set_submodule(name, Fp8Linear(module.in_features, module.out_features))
