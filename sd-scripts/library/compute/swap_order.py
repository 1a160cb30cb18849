# SPDX-License-Identifier: Apache-2.0
"""The blocks of a transformer: how many there are of each kind, in the order in which they are computed, and which of
them take turns in the device's memory. Pure, and without torch; `block_swap` does the copying.

For a kind with S fewer blocks on the device, S + 2 blocks take turns in 2 slots, and at least 2 of each kind stay. A
block's index counts the blocks of all kinds; its place counts the blocks of its kind that take turns.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass

SLOTS = 2
# The number of blocks that sd-scripts swaps with --split_mode, the older flag.
SPLIT_MODE = 18


@dataclass(frozen=True, kw_only=True)
class Stack:
    """The blocks of one kind. `name`: what their keys begin with, such as double_blocks; `kind`: their name in
    messages, such as double."""

    name: str
    kind: str
    depth: int


@dataclass(frozen=True, kw_only=True)
class Stacks:
    """All blocks of a transformer. `fewer`: how many fewer blocks of each kind are on the device for a number of
    --blocks_to_swap, which each family counts in its own way."""

    stacks: tuple[Stack, ...]
    fewer: Callable[[int], tuple[int, ...]]

    @property
    def blocks(self) -> int:
        return sum(stack.depth for stack in self.stacks)

    @property
    def prefixes(self) -> tuple[str, ...]:
        """What the keys of all blocks begin with."""
        return tuple(f"{stack.name}." for stack in self.stacks)

    @property
    def names(self) -> list[str]:
        """The name of each block by its index, such as double_blocks.0."""
        return [f"{stack.name}.{index}" for stack in self.stacks for index in range(stack.depth)]

    def most(self) -> int:
        """The largest --blocks_to_swap."""
        return max((number for number in range(self.blocks) if self._fits(number)), default=0)

    def asked(self, blocks_to_swap: int | None, *, split_mode: bool) -> int | None:
        """The --blocks_to_swap that the command line asks for; None if it does not say. A number overrides
        --split_mode, as in sd-scripts."""
        if blocks_to_swap is None and split_mode:
            return min(SPLIT_MODE, self.most())
        return blocks_to_swap

    def _fits(self, number: int) -> bool:
        counts = zip(self.fewer(number), self.stacks, strict=True)
        return number == 0 or all(fewer <= stack.depth - SLOTS for fewer, stack in counts)

    def misfit(self, blocks_to_swap: int) -> str | None:
        """A sentence if the model cannot swap `blocks_to_swap` of its blocks, or None."""
        if self._fits(blocks_to_swap):
            return None
        counts = zip(self.fewer(blocks_to_swap), self.stacks, strict=True)
        taken = " and ".join(f"{fewer} of {stack.depth} {stack.kind}" for fewer, stack in counts)
        return (
            f"--blocks_to_swap {blocks_to_swap} takes {taken} blocks off the GPU, but at least {SLOTS} of each must "
            f"stay: use at most {self.most()}"
        )

    def in_turn(self, blocks_to_swap: int) -> tuple[list[int], ...]:
        """Indices of the blocks of each kind that take turns. They are spread evenly, so that about the same number
        of blocks is computed during each copy."""
        depths = [stack.depth for stack in self.stacks]
        firsts = itertools.accumulate(depths, initial=0)
        return tuple(
            [first + index for index in _spread(fewer, depth)]
            for fewer, depth, first in zip(self.fewer(blocks_to_swap), depths, firsts, strict=False)
        )

    def checkpointed_at_least(self, blocks_to_swap: int) -> int:
        """How many blocks, counted from the first, must be checkpointed: all up to the last one that takes turns."""
        return max((index + 1 for index in itertools.chain(*self.in_turn(blocks_to_swap))), default=0)


def _spread(fewer: int, among: int) -> list[int]:
    count = fewer + SLOTS if fewer else 0
    return [place * among // count for place in range(count)]


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
