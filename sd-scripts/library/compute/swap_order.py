# SPDX-License-Identifier: Apache-2.0
"""Which blocks take turns in the device's memory, and in which order. Pure; `block_swap` does the copying.

--blocks_to_swap N has sd-scripts' meaning: N // 2 fewer double and 2 (N - N // 2) fewer single blocks are on the
device, and at least 2 of each kind stay there. For a kind with S fewer blocks, S + 2 blocks take turns in 2 slots, so
N saves the same memory in both programs. A block's index counts double blocks, then single ones; its place counts the
blocks of its kind that take turns.
"""

from __future__ import annotations

SLOTS = 2
# The number of blocks that sd-scripts swaps with --split_mode, the older flag.
SPLIT_MODE = 18


def away(blocks_to_swap: int) -> tuple[int, int]:
    """How many fewer (double, single) blocks are on the device."""
    double = blocks_to_swap // 2
    return double, 2 * (blocks_to_swap - double)


def most(double_blocks: int, single_blocks: int) -> int:
    """The largest --blocks_to_swap for a model with so many blocks."""
    fitting = (
        number
        for number in range(double_blocks + single_blocks)
        if _fits(number, double_blocks=double_blocks, single_blocks=single_blocks)
    )
    return max(fitting, default=0)


def asked(blocks_to_swap: int | None, *, split_mode: bool, double_blocks: int, single_blocks: int) -> int | None:
    """The --blocks_to_swap that the command line asks for; None if it does not say. A number overrides --split_mode,
    as in sd-scripts."""
    if blocks_to_swap is None and split_mode:
        return min(SPLIT_MODE, most(double_blocks, single_blocks))
    return blocks_to_swap


def _fits(number: int, *, double_blocks: int, single_blocks: int) -> bool:
    double, single = away(number)
    return number == 0 or (double <= double_blocks - SLOTS and single <= single_blocks - SLOTS)


def misfit(blocks_to_swap: int, *, double_blocks: int, single_blocks: int) -> str | None:
    """A sentence if a model with so many blocks cannot swap `blocks_to_swap` of them, or None."""
    if _fits(blocks_to_swap, double_blocks=double_blocks, single_blocks=single_blocks):
        return None
    double, single = away(blocks_to_swap)
    return (
        f"--blocks_to_swap {blocks_to_swap} takes {double} of {double_blocks} double and {single} of {single_blocks} "
        f"single blocks off the GPU, but at least {SLOTS} of each must stay: use at most "
        f"{most(double_blocks, single_blocks)}"
    )


def in_turn(blocks_to_swap: int, *, double_blocks: int, single_blocks: int) -> tuple[list[int], list[int]]:
    """Indices of the (double, single) blocks that take turns. They are spread evenly, so that about the same number
    of blocks is computed during each copy."""
    double, single = away(blocks_to_swap)
    return (
        _spread(double, double_blocks),
        [double_blocks + index for index in _spread(single, single_blocks)],
    )


def _spread(fewer: int, among: int) -> list[int]:
    count = fewer + SLOTS if fewer else 0
    return [place * among // count for place in range(count)]


def checkpointed_at_least(blocks_to_swap: int, *, double_blocks: int, single_blocks: int) -> int:
    """How many blocks, counted from the first, must be checkpointed: all up to the last one that takes turns."""
    double, single = in_turn(blocks_to_swap, double_blocks=double_blocks, single_blocks=single_blocks)
    return max((index + 1 for index in (*double, *single)), default=0)


def following(place: int, *, places: int, backward: bool, goes_back: bool) -> int:
    """The place that is computed after this one: forward 0, 1, ..., last; backward last, ..., 1, 0; then 0 again.

    `goes_back`: whether the inputs of this block need a gradient, so that the blocks before it are computed again in
    the backward pass. If not, the backward pass, if there is one, ends at this block, and a new forward pass is next.
    """
    if backward:
        return place - 1 if place and goes_back else 0
    if place + 1 < places:
        return place + 1
    return place if goes_back else 0
