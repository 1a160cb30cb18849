# SPDX-License-Identifier: Apache-2.0
"""Which blocks take turns for sd-scripts' --blocks_to_swap, and which one is copied while another computes."""

from __future__ import annotations

import re

import pytest
import torch

from library.compute import swap_order
from library.flux import fp8
from library.flux.model import Flux
from tests.sd_scripts.full_size import DEV as CONFIG
from tests.sd_scripts.running import ROOT

DEV = {"double_blocks": 19, "single_blocks": 38}


@pytest.mark.parametrize(
    ("number", "double", "single"),
    [(0, 0, 0), (1, 0, 2), (2, 1, 2), (16, 8, 16), (18, 9, 18), (22, 11, 22), (28, 14, 28), (35, 17, 36)],
)
def test_the_number_means_what_it_means_to_sd_scripts(number: int, double: int, single: int) -> None:
    """`double` and `single` blocks fewer are on the device. Two more of each kind take turns, in two slots."""
    assert swap_order.away(number) == (double, single)
    assert swap_order.misfit(number, **DEV) is None
    turns = swap_order.in_turn(number, **DEV)
    assert [len(indices) for indices in turns] == [count + 2 if count else 0 for count in (double, single)]
    assert turns[0] == sorted(set(turns[0]) & set(range(19)))
    assert turns[1] == sorted(set(turns[1]) & set(range(19, 57)))


@pytest.mark.parametrize(
    ("number", "blocks", "most"), [(36, DEV, 35), (1, {"double_blocks": 2, "single_blocks": 2}, 0), (3, (4, 4), 2)]
)
def test_a_number_that_leaves_too_few_blocks_is_refused(
    number: int, blocks: dict[str, int] | tuple[int, int], most: int
) -> None:
    counts = blocks if isinstance(blocks, dict) else {"double_blocks": blocks[0], "single_blocks": blocks[1]}
    assert swap_order.most(**counts) == most
    assert swap_order.misfit(most, **counts) is None
    wrong = swap_order.misfit(number, **counts)
    assert wrong is not None
    assert wrong.startswith(f"--blocks_to_swap {number} takes ")
    assert wrong.endswith(f"use at most {most}")


@pytest.mark.parametrize(
    ("number", "double", "single", "checkpointed"),
    [
        (0, [], [], 0),
        (1, [], [19, 28, 38, 47], 48),
        (4, [0, 4, 9, 14], [19, 25, 31, 38, 44, 50], 51),
        (35, list(range(19)), list(range(19, 57)), 57),
    ],
)
def test_they_are_spread_evenly(number: int, double: list[int], single: list[int], checkpointed: int) -> None:
    assert swap_order.in_turn(number, **DEV) == (double, single)
    assert swap_order.checkpointed_at_least(number, **DEV) == checkpointed


@pytest.mark.parametrize(
    ("where", "forward", "backward"),
    [
        ("all need a gradient", [1, 2, 3, 4, 4], [3, 2, 1, 0, 0]),
        ("none does", [1, 2, 3, 4, 0], []),
        ("from place 2 on", [1, 2, 3, 4, 4], [3, 2, 0]),
    ],
)
def test_what_is_computed_next(where: str, forward: list[int], backward: list[int]) -> None:
    """5 places, in both directions. "from place 2 on": the first LoRA is in the block at place 2."""
    first = {"all need a gradient": -1, "none does": 5, "from place 2 on": 2}[where]

    def asked(place: int, *, back: bool) -> int:
        return swap_order.following(place, places=5, backward=back, goes_back=place > first)

    assert [asked(place, back=False) for place in range(5)] == forward
    assert [asked(place, back=True) for place in range(4, 4 - len(backward), -1)] == backward


@pytest.mark.parametrize(
    ("number", "split_mode", "asked"), [(None, False, None), (0, True, 0), (5, True, 5), (None, True, 18)]
)
def test_split_mode_is_18_unless_a_number_is_given(number: int | None, split_mode: bool, asked: int | None) -> None:
    assert swap_order.asked(number, split_mode=split_mode, **DEV) == asked
    small = swap_order.asked(number, split_mode=split_mode, double_blocks=2, single_blocks=2)
    assert small == (0 if asked == 18 else asked)


def size_of(flux: Flux, indices: list[int]) -> float:
    """The size of these blocks in GB."""
    blocks = [*flux.double_blocks, *flux.single_blocks]
    return sum(parameter.nbytes for index in indices for parameter in blocks[index].parameters()) / 1e9


@pytest.mark.parametrize("number", [18, 28, 35])
def test_the_table_of_the_docs_has_the_sizes_of_flux1_dev(number: int) -> None:
    double, single = swap_order.away(number)
    away = [*range(double), *range(19, 19 + single)]
    in_turn = [index for kind in swap_order.in_turn(number, **DEV) for index in kind]
    fewer: list[float] = []
    on_host: list[float] = []
    for in_8_bits in (False, True):
        with torch.device("meta"):
            flux = Flux(CONFIG).bfloat16()
            if in_8_bits:
                fp8.convert(flux)
        fewer.append(size_of(flux, away))
        on_host.append(size_of(flux, in_turn))
    sizes = " | ".join(f"{size:.1f} GB" for size in (*fewer, *on_host))
    row = f"| {number} | {double} double, {single} single | {sizes} |"
    assert re.findall(rf"^\| {number} \|.*$", (ROOT / "docs/trainer.md").read_text("utf-8"), re.MULTILINE) == [row]
