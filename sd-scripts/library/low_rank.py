# SPDX-License-Identifier: Apache-2.0
"""One low-rank layer, and what does not change it: splitting a fused one, fusing parts, moving alpha into `up`.

A layer stands for the product scale * up @ down with scale = alpha / rank. Each function keeps that product: bit for
bit where numbers are only moved or multiplied by a power of two, and else to the rounding of fp32.

A fused layer is split in one of two ways, and fused again in the other direction, so that both ways lead back to the
same bits (trainers.md 4.2):

    shared      one `down` for all members, the rows of `up` are split: it was trained fused, as kohya does
    block-wise  `down` is the members' one behind the other, `up` their block diagonal: trained split, as PEFT does
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
    """down: (rank, in), up: (out, rank)."""

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
        """The squared Frobenius norm of scale * up @ down, which is never made:
        |U D|^2 = sum((U^T U) * (D D^T))."""
        up, down = self.up.double(), self.down.double()
        return max(0.0, self.scale**2 * ((up.T @ up) * (down @ down.T)).sum().item())


def widths(members: int, width: int) -> list[int]:
    """Outputs of each member of a fused projection of a model that is `width` wide: q, k, v, and then the MLP."""
    return [width] * QKV + [MLP_RATIO * width] * (members - QKV)


def split(layer: LowRank, members: int) -> list[LowRank | None]:
    """The layers of the members of a fused projection; None for one that has none. Raises ValueError by its shape."""
    outputs = widths(members, layer.down.shape[1])
    if layer.up.shape[0] != sum(outputs):
        raise ValueError(f"it has {layer.up.shape[0]} outputs, and {members} members have {sum(outputs)}")
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
    """For each rank the member whose rows alone it touches, in the members' order; None if it is not block-wise."""
    used_MR = torch.stack([(row != 0).any(dim=0) for row in rows]).tolist()
    owners: list[int] = []
    for column in zip(*used_MR, strict=True):
        touched = [index for index, used in enumerate(column) if used]
        # A rank that touches nothing goes with the one before it.
        owners.append(touched[0] if touched else (owners[-1] if owners else 0))
        if len(touched) > 1 or owners != sorted(owners):
            return None
    return owners if any(map(any, used_MR)) else None


def fuse(parts: Sequence[LowRank | None]) -> LowRank:
    """The layer of a fused projection from its members', in order; None where a member is not trained.

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
            f"its members have {', '.join(map(str, sorted(inputs))) or 'no'} inputs; one number is right"
        )
    for part, width in zip(parts, widths(len(parts), inputs.pop()), strict=True):
        if part is not None and part.up.shape[0] != width:
            raise ValueError(f"a member has {part.up.shape[0]} outputs instead of {width}")


def _block_diagonal(parts: Sequence[LowRank | None], width: int) -> Tensor:
    """(sum of outputs, sum of ranks). A member that is not trained has rows of zeros."""
    blocks = [
        torch.zeros(rows, 0) if part is None else part.up
        for part, rows in zip(parts, widths(len(parts), width), strict=True)
    ]
    dtypes = {part.up.dtype for part in parts if part is not None}
    dtype = dtypes.pop() if len(dtypes) == 1 else torch.float32
    return torch.block_diag(*[block.to(dtype) for block in blocks])


def swapped_halves(layer: LowRank) -> LowRank:
    """The first and the second half of the outputs change places."""
    return replace(layer, up=torch.cat(layer.up.chunk(2)[::-1]))


def fold(layer: LowRank) -> LowRank:
    """The same with scale 1: `up` takes it in. In the type of `up` where that is exact, as it is for a power of two,
    and else in fp32."""
    if layer.scale == 1:
        return layer
    product = layer.up.double() * layer.scale
    own = product.to(layer.up.dtype)
    wide = torch.promote_types(layer.up.dtype, torch.float32)
    return replace(layer, up=own if torch.equal(own.double(), product) else product.to(wide), alpha=float(layer.rank))


def unfold(layer: LowRank, alpha: float) -> LowRank:
    """The inverse of `fold` for the alpha that was there before; in the type of `down` where that loses nothing."""
    quotient = layer.up.double() / (alpha / layer.rank)
    before = replace(layer, up=quotient.to(layer.down.dtype), alpha=alpha)
    again = fold(before).up
    lossless = again.dtype == layer.up.dtype and torch.equal(again, layer.up)
    return before if lossless else replace(before, up=quotient.to(layer.up.dtype))
