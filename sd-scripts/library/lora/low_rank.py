# SPDX-License-Identifier: Apache-2.0
"""A low-rank layer, and operations that keep its product: splitting a fused one, fusing parts, moving alpha to `up`.

A layer stands for the product scale * up @ down with scale = alpha / rank. Each function keeps that product, bit for
bit if numbers are only moved or multiplied by a power of two, and otherwise up to the rounding of fp32.

A fused layer is split in one of two ways. Fusing reverses either of them, so both lead back to the same bits
(docs/decisions/0058-lora-layouts.md):

    shared      all members get the same `down`, and the rows of `up` are split: it was trained fused, as by kohya
    block-wise  `down` is the members' stacked, `up` is their block diagonal: it was trained split, as by PEFT
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

# FLUX.1's MLP is four times as wide as the model, in all its variants.
MLP_RATIO = 4
QKV = 3


@dataclass(frozen=True, kw_only=True)
class LowRank:
    """One layer. `down`: (rank, in), `up`: (out, rank)."""

    down: Tensor
    up: Tensor
    alpha: float

    @property
    def rank(self) -> int:
        return self.down.shape[0]

    @property
    def scale(self) -> float:
        return self.alpha / self.rank

    @property
    def squared_norm(self) -> float:
        """The squared Frobenius norm of scale * up @ down, computed without the product:
        |U D|^2 = sum((U^T U) * (D D^T))."""
        up, down = self.up.double(), self.down.double()
        return max(0.0, self.scale**2 * ((up.T @ up) * (down @ down.T)).sum().item())


def widths(members: int, width: int) -> list[int]:
    """The outputs of each member of a fused projection in a model of this width: q, k, v, and then the MLP."""
    return [width] * QKV + [MLP_RATIO * width] * (members - QKV)


def split(layer: LowRank, members: int) -> list[LowRank | None]:
    """The layers of a fused projection's members; None for a member that no rank belongs to.

    Raises ValueError if the layer's outputs are not those of so many members.
    """
    outputs = widths(members, layer.down.shape[1])
    if layer.up.shape[0] != sum(outputs):
        raise ValueError(f"it has {layer.up.shape[0]} outputs, but {members} members have {sum(outputs)}")
    rows = layer.up.split(outputs)
    owners = _owners(rows)
    if owners is None:
        return [replace(layer, up=row.contiguous()) for row in rows]
    parts: list[LowRank | None] = []
    for index, row in enumerate(rows):
        begin, end = owners.index(index) if index in owners else 0, owners.count(index)
        columns = slice(begin, begin + end)
        own = replace(
            layer,
            down=layer.down[columns].contiguous(),
            up=row[:, columns].contiguous(),
            alpha=layer.alpha * end / layer.rank,
        )
        parts.append(own if end else None)
    return parts


def _owners(rows: Sequence[Tensor]) -> list[int] | None:
    """For each rank, the index of the only member whose rows it touches.

    None if the layer is not block-wise, with the ranks in the members' order.
    """
    used_MR = torch.stack([(row != 0).any(dim=0) for row in rows]).tolist()
    owners: list[int] = []
    for column in zip(*used_MR, strict=True):
        touched = [index for index, used in enumerate(column) if used]
        # A rank that touches nothing belongs to the same member as the one before it.
        owners.append(touched[0] if touched else (owners[-1] if owners else 0))
        if len(touched) > 1 or owners != sorted(owners):
            return None
    return owners if any(map(any, used_MR)) else None


def fuse(parts: Sequence[LowRank | None]) -> LowRank:
    """The layer of a fused projection, from those of its members in order. None stands for an untrained member.

    Raises ValueError if all are None, or if their shapes are not those of one projection.
    """
    present = [part for part in parts if part is not None]
    if len(parts) == 1 and present:
        return present[0]
    _check_members(parts)
    first = present[0]
    if len(present) == len(parts) and all(
        part.scale == first.scale and torch.equal(part.down, first.down) for part in present
    ):
        return replace(first, up=torch.cat([part.up for part in present]))
    if any(part.scale != first.scale for part in present):
        parts = [None if part is None else fold(part) for part in parts]
        present = [part for part in parts if part is not None]
    return LowRank(
        down=torch.cat([part.down for part in present]),
        up=_block_diagonal(parts, first.down.shape[1]),
        alpha=sum(part.alpha for part in present),
    )


def _check_members(parts: Sequence[LowRank | None]) -> None:
    inputs = {part.down.shape[1] for part in parts if part is not None}
    if len(inputs) != 1:
        raise ValueError(
            f"its members have {', '.join(map(str, sorted(inputs))) or 'no'} inputs; all must have the same number"
        )
    for part, width in zip(parts, widths(len(parts), inputs.pop()), strict=True):
        if part is not None and part.up.shape[0] != width:
            raise ValueError(f"a member has {part.up.shape[0]} outputs instead of {width}")


def _block_diagonal(parts: Sequence[LowRank | None], width: int) -> Tensor:
    """The block diagonal of the members' `up`: (sum of outputs, sum of ranks). Untrained members have zeros."""
    blocks = [
        torch.zeros(rows, 0) if part is None else part.up
        for part, rows in zip(parts, widths(len(parts), width), strict=True)
    ]
    dtypes = {part.up.dtype for part in parts if part is not None}
    dtype = dtypes.pop() if len(dtypes) == 1 else torch.float32
    return torch.block_diag(*[block.to(dtype) for block in blocks])


def swapped_halves(layer: LowRank) -> LowRank:
    """The layer with the first and the second half of its outputs swapped."""
    return replace(layer, up=torch.cat(layer.up.chunk(2)[::-1]))


def fold(layer: LowRank) -> LowRank:
    """The layer with its scale multiplied into `up`, so that its scale is 1.

    `up` keeps its type if that is exact, as for a power of two; otherwise it becomes fp32.
    """
    if layer.scale == 1:
        return layer
    product = layer.up.double() * layer.scale
    own = product.to(layer.up.dtype)
    wide = torch.promote_types(layer.up.dtype, torch.float32)
    return replace(layer, up=own if torch.equal(own.double(), product) else product.to(wide), alpha=float(layer.rank))


def unfold(layer: LowRank, alpha: float) -> LowRank:
    """The inverse of `fold`. `alpha`: the alpha before it. `up` gets the type of `down` if that loses nothing."""
    quotient = layer.up.double() / (alpha / layer.rank)
    before = replace(layer, up=quotient.to(layer.down.dtype), alpha=alpha)
    again = fold(before).up
    lossless = again.dtype == layer.up.dtype and torch.equal(again, layer.up)
    return before if lossless else replace(before, up=quotient.to(layer.up.dtype))
