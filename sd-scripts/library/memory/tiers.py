# SPDX-License-Identifier: Apache-2.0
"""Chooses the fastest way of computing a training that fits the GPU's memory. Pure.

The order is: nothing checkpointed; as few blocks checkpointed as possible; the same with an fp8 base; then block
swap with as few blocks as possible (docs/decisions/0059-memory.md). Settings of the user or of a state are fixed, and
the rest is chosen around them. More memory never gives a later way in this order, with one exception: a way in which
the samples fit too is preferred to one in which only the steps fit, and may become available with more memory.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from library.errors import TrainerError
from library.memory import footprint
from library.memory.footprint import Footprint, Run, Tier

GB = 1_000_000_000
# The share of the free memory that is used; the rest is for the allocator's gaps. A "24 GB" card has 25.8 GB, of
# which about 25 are free when a program starts: this share of them is about the nominal size again.
USED_SHARE = 0.95


@dataclass(frozen=True, kw_only=True)
class Budget:
    """Bytes of GPU memory. A way is chosen if it takes at most `chosen`, and refused if it takes more than `most`.

    The two differ so that a resumed run is not refused if the GPU has slightly less free memory than at its start.
    """

    chosen: int
    most: int


@dataclass(frozen=True, kw_only=True)
class MemoryPlan:
    """A way of computing, and the memory that it takes."""

    tier: Tier
    footprint: Footprint


def budget(vram: str, *, free: int | None) -> Budget | None:
    """The memory that may be used, from --vram and the GPU's free memory (None: no GPU); None if there is no limit.

    `12` stands for a card sold with 12 GB: it has 12 GiB, of which a program can use about 12 GB.
    """
    if vram == "auto":
        return None if free is None else Budget(chosen=int(free * USED_SHARE), most=free)
    said = Budget(chosen=int(vram) * GB, most=int(vram) * 2**30)
    if free is None:
        return said
    return Budget(chosen=min(said.chosen, int(free * USED_SHARE)), most=min(said.most, free))


def choose(run: Run, *, settled: Mapping[str, object], budget: Budget | None) -> MemoryPlan:
    """The first way that fits, samples included; or else the first in which the steps fit; or else the last, which
    takes the least, and of which `check` says whether to try it.

    `settled`: what is already decided, by the names of `Choices`. Without a budget, the first way is chosen.
    """
    plan = without_samples = None
    for tier in ways(run, settled):
        plan = MemoryPlan(tier=tier, footprint=footprint.of(run, tier))
        if budget is None or plan.footprint.total <= budget.chosen:
            return plan
        if without_samples is None and plan.footprint.step <= budget.chosen:
            without_samples = plan
    assert plan is not None
    return without_samples or plan


def ways(run: Run, settled: Mapping[str, object]) -> Iterator[Tier]:
    """All ways that may be chosen, the fastest first. There is at least one."""
    blocks = run.blocks
    bases = [str(settled["base"])] if "base" in settled else (["full", "fp8"] if run.autocast else ["full"])
    asked_swaps, asked_checkpointed = settled.get("blocks_to_swap"), settled.get("checkpointed_blocks")
    first_swap = asked_swaps if isinstance(asked_swaps, int) else 0
    for base in bases:
        least = run.model.stacks.checkpointed_at_least(first_swap)
        numbers = range(least, blocks + 1)
        if isinstance(asked_checkpointed, int):
            numbers = range(max(least, asked_checkpointed), max(least, asked_checkpointed) + 1)
        for number in numbers:
            yield Tier(base=base, checkpointed_blocks=number, blocks_to_swap=first_swap)
    if asked_swaps is None:
        for number in range(1, run.model.stacks.most() + 1):
            yield Tier(base=bases[-1], checkpointed_blocks=blocks, blocks_to_swap=number)


def check(plan: MemoryPlan, budget: Budget | None, *, resumed: bool) -> None:
    """Raises TrainerError with the numbers if the plan takes more than there is, even without its reserve."""
    found = plan.footprint
    if budget is None or found.step - found.reserve <= budget.most:
        return
    help_text = (
        "add --replan to choose again for this GPU, or use a larger one"
        if resumed
        else "use a smaller resolution, batch or --network_dim, --optimizer_type adafactor, --mixed_precision bf16, "
        "or a larger GPU"
    )
    raise TrainerError(
        f"this training needs about {_gb(found.step)} of GPU memory with {described(plan.tier)}: "
        f"{_gb(found.weights)} for frozen weights, {_gb(found.training)} for the LoRA with gradients and optimizer, "
        f"{_gb(found.activations)} for activations, {_gb(found.working + found.reserve)} to work with; only "
        f"{_gb(budget.most)} is available; {help_text}"
    )


def check_encoding(count: int, what: str, budget: Budget | None) -> None:
    """Raises TrainerError if an encoding before the training (`what`) takes `count` bytes, and there are fewer."""
    if budget is not None and count > budget.most:
        raise TrainerError(
            f"{what} needs about {_gb(count)} of GPU memory before the training begins, but only "
            f"{_gb(budget.most)} is available; use --mixed_precision bf16, a smaller resolution, caches that were "
            "made on another machine, or a larger GPU"
        )


def advice_on_samples(plan: MemoryPlan, budget: Budget | None) -> str | None:
    """A sentence if the training fits but its samples do not, or None."""
    found = plan.footprint
    if budget is None or not found.samples or found.total - found.reserve <= budget.most:
        return None
    return (
        f"samples need about {_gb(found.total)} of GPU memory, but only {_gb(budget.most)} is available: those that "
        "do not fit are skipped; ask for smaller ones in --sample_prompts"
    )


def line(run: Run, plan: MemoryPlan, budget: Budget | None) -> str:
    """The log's line about a plan."""
    room = f"{_gb(budget.chosen)}" if budget else "no limit"
    return f"memory: {room}: {described(plan.tier, blocks=run.blocks)}, estimated {_gb(plan.footprint.total)}"


def described(tier: Tier, *, blocks: int | None = None) -> str:
    """A tier in words."""
    words = ["fp8 base" if tier.base == "fp8" else "unquantised base"]
    of = f" of {blocks}" if blocks else ""
    if tier.checkpointed_blocks:
        words.append(f"{tier.checkpointed_blocks}{of} blocks checkpointed")
    else:
        words.append("no blocks checkpointed")
    if tier.blocks_to_swap:
        words.append(f"{tier.blocks_to_swap} blocks swapped")
    return ", ".join(words)


def _gb(count: int) -> str:
    return f"{count / GB:.1f} GB"
