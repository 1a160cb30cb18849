# SPDX-License-Identifier: Apache-2.0
"""A frozen transformer whose big matrices are kept in 8 bits: float8_e4m3fn, with a scale for each output row.

Only the weights are in 8 bits, products are computed in the training's type. A matrix in that type lives no longer
than the product that it is made for: between forward and backward lies the 8-bit one, which is there anyhow. How the
scales are chosen: docs/decisions/0052-fp8-base.md.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

TYPE = torch.float8_e4m3fn
LARGEST = torch.finfo(TYPE).max
PARTS = ("double_blocks", "single_blocks")
"""Where a transformer's matrices are kept so. What stands before and after the blocks is small."""


def quantise(weight: Tensor) -> tuple[Tensor, Tensor]:
    """A matrix (out, in) of any type -> the same in e4m3, and its scales (out,) in fp32.

    A row is its e4m3 numbers times its scale: a power of two that brings its largest number under 448, and over 111
    at least. A row of zeros has scale 1.
    """
    if weight.dtype.itemsize == 1:
        weight = weight.float()  # PyTorch has no arithmetic of fp8
    low, high = weight.aminmax(dim=1)
    largest = torch.maximum(-low, high).float()
    exponent = torch.frexp(largest / LARGEST).exponent
    one = torch.ones_like(largest)
    return (weight * torch.ldexp(one, -exponent)[:, None]).to(TYPE), torch.ldexp(one, exponent)


def of_file(weight: Tensor, scale: Tensor | None) -> tuple[Tensor, Tensor]:
    """A matrix as it is stored, with its own scale if it has one there -> its numbers in e4m3, and scales (out,).

    What is in e4m3 already keeps each bit, and the file's scale, which may be one for all rows or one for each.
    Raises ValueError for another number of scales.
    """
    rows = len(weight)
    if scale is not None and scale.numel() not in (1, rows):
        raise ValueError(f"has {scale.numel()} scales for {rows} rows; it must have 1 or {rows}")
    scales = torch.ones(rows, device=weight.device) if scale is None else scale.float().flatten().expand(rows)
    if weight.dtype == TYPE:
        return weight, scales.contiguous()
    return quantise(weight if scale is None else weight.float() * scales[:, None])


# One operator, so that a compiler can neither look into it nor share its inside. When it could, it made the matrix
# once for both directions and kept it between them: each weight a second time, in 16 bits.
torch.library.define("fluxgym::matmul_fp8", "(Tensor x, Tensor matrix) -> Tensor")


@torch.library.impl("fluxgym::matmul_fp8", "default")
def _matmul(x: Tensor, matrix: Tensor) -> Tensor:
    return x @ matrix.to(x.dtype)


@torch.library.register_fake("fluxgym::matmul_fp8")
def _shape_of_matmul(x: Tensor, matrix: Tensor) -> Tensor:
    return x.new_empty(*x.shape[:-1], matrix.shape[1])


class _Product(torch.autograd.Function):
    """x (..., in), frozen weight (out, in) -> x W^T (..., out). Its gradient is dx = dy W."""

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

    Computes in autocast's type, and without autocast in the input's. The scales multiply the outputs, not the
    weights: with powers of two that is the same to the last bit, and a copy of the weights less to write.
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


def convert(transformer: nn.Module) -> None:
    """Puts an `Fp8Linear`, which is to be filled, in the place of each Linear of the blocks."""
    for name, module in list(transformer.named_modules()):
        if type(module) is nn.Linear and name.partition(".")[0] in PARTS:
            transformer.set_submodule(name, Fp8Linear(module.in_features, module.out_features))
