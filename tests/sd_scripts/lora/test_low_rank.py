# SPDX-License-Identifier: Apache-2.0
"""Operations on a low-rank layer keep its product, and undoing them gives back every bit."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from library.lora.low_rank import LowRank, fold, fuse, split, swapped_halves, unfold, widths

WIDTH = 8
DTYPES = [torch.float32, torch.bfloat16, torch.float16]
# Powers of two, whose scaling is exact, and others.
ALPHAS = [1.0, 4.0, 3.0, 1.1]


def drawn(outputs: int, rank: int, *, alpha: float, dtype: torch.dtype = torch.float32, seed: int = 0) -> LowRank:
    generator = torch.Generator().manual_seed(seed)
    return LowRank(
        down=torch.randn(rank, WIDTH, generator=generator).to(dtype),
        up=torch.randn(outputs, rank, generator=generator).to(dtype),
        alpha=alpha,
    )


def product(layer: LowRank) -> Tensor:
    return layer.alpha / layer.rank * (layer.up.double() @ layer.down.double())


def assert_same(one: LowRank, other: LowRank) -> None:
    """Compares bit for bit, types included."""
    for name in ("down", "up"):
        first, second = getattr(one, name), getattr(other, name)
        assert first.dtype == second.dtype
        assert torch.equal(first, second)
    assert one.alpha == other.alpha


@pytest.mark.parametrize("members", [3, 4])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("alpha", ALPHAS)
def test_a_layer_trained_fused_is_split_by_rows_and_comes_back(
    alpha: float, dtype: torch.dtype, members: int
) -> None:
    layer = drawn(sum(widths(members, WIDTH)), 4, alpha=alpha, dtype=dtype)
    parts = [part for part in split(layer, members) if part is not None]
    assert [part.up.shape[0] for part in parts] == widths(members, WIDTH)
    assert all(part.rank == 4 for part in parts)
    assert torch.equal(torch.cat([product(part) for part in parts]), product(layer))
    assert_same(fuse(parts), layer)


@pytest.mark.parametrize("alpha", ALPHAS)
@pytest.mark.parametrize("ranks", [(2, 2, 2, 2), (1, 2, 3, 4), (2, 0, 2, 0), (0, 0, 0, 3)])
def test_layers_trained_separately_are_fused_block_by_block_and_come_back(
    ranks: tuple[int, ...], alpha: float
) -> None:
    """Rank 0: the member was not trained."""
    parts = [
        drawn(width, rank, alpha=alpha * rank, seed=rank * 10 + index) if rank else None
        for index, (rank, width) in enumerate(zip(ranks, widths(4, WIDTH), strict=True))
    ]
    fused = fuse(parts)
    assert fused.rank == sum(ranks)
    assert fused.alpha == pytest.approx(alpha * sum(ranks))
    zeros = torch.zeros(1, WIDTH, dtype=torch.float64)
    rows = [
        zeros.expand(width, WIDTH) if part is None else product(part)
        for part, width in zip(parts, widths(4, WIDTH), strict=True)
    ]
    torch.testing.assert_close(product(fused), torch.cat(rows), rtol=1e-14, atol=0)
    for part, again in zip(parts, split(fused, 4), strict=True):
        assert (part is None) == (again is None)
        if part is not None and again is not None:
            assert_same(replace(again, alpha=round(again.alpha, 9)), replace(part, alpha=round(part.alpha, 9)))


@pytest.mark.parametrize("shared", [True, False])
def test_members_with_different_scales_keep_their_products(shared: bool) -> None:
    parts = [drawn(WIDTH, 2, alpha=alpha, dtype=torch.bfloat16, seed=index) for index, alpha in enumerate((1, 2, 3))]
    if shared:
        parts = [replace(part, down=parts[0].down) for part in parts]
    fused = fuse(parts)
    torch.testing.assert_close(product(fused), torch.cat(list(map(product, parts))), rtol=1e-6, atol=1e-6)


def test_a_layer_that_has_learned_nothing_stays_shared() -> None:
    layer = replace(drawn(3 * WIDTH, 6, alpha=1), up=torch.zeros(3 * WIDTH, 6))
    parts = split(layer, 3)
    assert [part.rank for part in parts if part is not None] == [6, 6, 6]
    assert_same(fuse(parts), layer)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("rank", "alpha"), [(16, 1), (16, 8), (4, 4), (12, 1), (16, 1.1), (5, 7)])
def test_alpha_folded_into_up_keeps_the_product_and_comes_back(rank: int, alpha: float, dtype: torch.dtype) -> None:
    layer = drawn(WIDTH, rank, alpha=alpha, dtype=dtype)
    plain = fold(layer)
    assert plain.scale == 1
    torch.testing.assert_close(product(plain), product(layer), rtol=1e-6, atol=1e-6)
    again = unfold(plain, alpha)
    if (rank, alpha) in ((16, 1), (16, 8), (4, 4)):
        assert plain.up.dtype == dtype
        assert torch.equal(product(plain), product(layer))
        assert_same(again, layer)
    elif dtype != torch.float32:
        assert_same(again, layer)  # fp32's rounding is too fine to show in these types
    else:
        torch.testing.assert_close(again.up, layer.up, rtol=1.2e-7, atol=0)


def test_numbers_too_small_for_their_type_are_folded_in_fp32() -> None:
    layer = drawn(WIDTH, 16, alpha=1, dtype=torch.float16)
    small = replace(layer, up=torch.full_like(layer.up, 3 * 2**-24))  # a sixteenth of it rounds to 0
    plain = fold(small)
    assert torch.equal(product(plain), product(small))
    assert_same(unfold(plain, 1), small)


def test_up_may_have_a_wider_type_than_down() -> None:
    layer = drawn(WIDTH, 16, alpha=1, dtype=torch.bfloat16)
    wide = replace(layer, up=layer.up.float())
    assert_same(unfold(fold(wide), 1), wide)


def test_the_norm_is_that_of_the_product() -> None:
    layer = drawn(24, 4, alpha=3)
    assert layer.squared_norm == pytest.approx(product(layer).square().sum().item(), rel=1e-12)


def test_halves_are_swapped() -> None:
    layer = drawn(6, 2, alpha=1)
    assert torch.equal(swapped_halves(layer).up, layer.up[[3, 4, 5, 0, 1, 2]])
    assert_same(swapped_halves(swapped_halves(layer)), layer)


def test_a_projection_of_another_width_is_refused() -> None:
    with pytest.raises(ValueError, match="it has 25 outputs, but 3 members have 24"):
        split(drawn(25, 2, alpha=1), 3)
    with pytest.raises(ValueError, match="a member has 9 outputs instead of 8"):
        fuse([drawn(9, 2, alpha=1), None, None])
