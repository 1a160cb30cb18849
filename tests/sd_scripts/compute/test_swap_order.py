# SPDX-License-Identifier: Apache-2.0
"""Which blocks take turns for sd-scripts' --blocks_to_swap, and which one is copied while another computes."""

from __future__ import annotations

import dataclasses
import re

import pytest
import torch

from library.compute import fp8, swap_order
from library.compute.swap_order import Stack, Stacks
from library.flux.model import Flux
from tests.sd_scripts.full_size import DEV as CONFIG
from tests.sd_scripts.running import ROOT

DEV = CONFIG.stacks


def of_depths(double: int, single: int) -> Stacks:
    return dataclasses.replace(CONFIG, double_blocks=double, single_blocks=single).stacks


def test_a_family_may_have_one_kind_of_blocks_and_its_own_meaning_of_the_number() -> None:
    stacks = Stacks(stacks=(Stack(name="layers", kind="transformer", depth=8),), fewer=lambda number: (number,))
    assert stacks.names[:2] == ["layers.0", "layers.1"]
    assert stacks.most() == 6
    assert stacks.in_turn(2) == ([0, 2, 4, 6],)
    assert stacks.misfit(7) == (
        "--blocks_to_swap 7 takes 7 of 8 transformer blocks off the GPU, but at least 2 of each must stay: use at "
        "most 6"
    )


@pytest.mark.parametrize(
    ("number", "double", "single"),
    [(0, 0, 0), (1, 0, 2), (2, 1, 2), (16, 8, 16), (18, 9, 18), (22, 11, 22), (28, 14, 28), (35, 17, 36)],
)
def test_the_number_has_its_meaning_from_sd_scripts(number: int, double: int, single: int) -> None:
    """`double` and `single` blocks fewer are on the device. Two more of each kind take turns, in two slots."""
    assert DEV.fewer(number) == (double, single)
    assert DEV.misfit(number) is None
    turns = DEV.in_turn(number)
    assert [len(indices) for indices in turns] == [count + 2 if count else 0 for count in (double, single)]
    assert turns[0] == sorted(set(turns[0]) & set(range(19)))
    assert turns[1] == sorted(set(turns[1]) & set(range(19, 57)))


@pytest.mark.parametrize(
    ("number", "depths", "taken", "most"),
    [
        (36, (19, 38), "18 of 19 double and 36 of 38 single", 35),
        (1, (2, 2), "0 of 2 double and 2 of 2 single", 0),
        (3, (4, 4), "1 of 4 double and 4 of 4 single", 2),
    ],
)
def test_a_number_that_leaves_too_few_blocks_is_refused(
    number: int, depths: tuple[int, int], taken: str, most: int
) -> None:
    stacks = of_depths(*depths)
    assert stacks.most() == most
    assert stacks.misfit(most) is None
    wrong = stacks.misfit(number)
    assert wrong is not None
    assert wrong.startswith(f"--blocks_to_swap {number} takes {taken} blocks off the GPU, ")
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
def test_swapped_blocks_are_spread_evenly(
    number: int, double: list[int], single: list[int], checkpointed: int
) -> None:
    assert DEV.in_turn(number) == (double, single)
    assert DEV.checkpointed_at_least(number) == checkpointed


@pytest.mark.parametrize(
    ("where", "forward", "backward"),
    [
        ("all need a gradient", [1, 2, 3, 4, 4], [3, 2, 1, 0, 0]),
        ("none does", [1, 2, 3, 4, 0], []),
        ("from place 2 on", [1, 2, 3, 4, 4], [3, 2, 0]),
    ],
)
def test_the_block_that_is_computed_next_is_known(where: str, forward: list[int], backward: list[int]) -> None:
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
    assert DEV.asked(number, split_mode=split_mode) == asked
    small = of_depths(2, 2).asked(number, split_mode=split_mode)
    assert small == (0 if asked == 18 else asked)


def size_of(flux: Flux, indices: list[int]) -> float:
    """The size of these blocks in GB."""
    blocks = [*flux.double_blocks, *flux.single_blocks]
    return sum(parameter.nbytes for index in indices for parameter in blocks[index].parameters()) / 1e9


@pytest.mark.parametrize("number", [18, 28, 35])
def test_the_table_of_the_docs_has_the_sizes_of_flux1_dev(number: int) -> None:
    double, single = DEV.fewer(number)
    away = [*range(double), *range(19, 19 + single)]
    in_turn = [index for kind in DEV.in_turn(number) for index in kind]
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
