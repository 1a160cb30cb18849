# SPDX-License-Identifier: Apache-2.0
"""Block swap on a GPU: the same bits whether copying or computing is slow, less memory, and no waiting host."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn

from library import determinism
from library.compute import block_swap
from library.compute.block_swap import BesideComputing
from library.flux.config import FluxConfig
from library.flux.model import Flux, image_ids
from library.lora.lora import LoRANetwork

GPU = torch.device("cuda")
# 20 blocks. With 10 swapped, 5 double and 10 single blocks fewer are on the GPU: 0.7 of 1 GB in bf16.
CONFIG = FluxConfig(
    packed_channels=64,
    vector_width=64,
    text_width=64,
    hidden=1024,
    mlp_hidden=4096,
    head_width=128,
    double_blocks=8,
    single_blocks=12,
    guidance=True,
)
BLOCKS = CONFIG.double_blocks + CONFIG.single_blocks
SWAPPED = 10
A_WHILE = 20_000_000
"""GPU cycles, about 10 ms: longer than copying or computing a block of this model takes."""


@pytest.fixture(autouse=True)
def deterministic() -> Iterator[None]:
    determinism.settle(deterministic=True)
    yield
    determinism.settle(deterministic=False)
    gc.collect()
    torch.cuda.empty_cache()


class SlowCopies(BesideComputing):
    """Delays each copy, so that the weights arrive long after they are requested."""

    def start(self, slot: Tensor, source: Tensor) -> object:
        with torch.cuda.stream(self._stream):
            torch.cuda._sleep(A_WHILE)
        return super().start(slot, source)


def slow_computing(flux: Flux) -> None:
    """Delays each block: it computes long after it is launched, with whatever its slot contains by then."""
    for block in (*flux.double_blocks, *flux.single_blocks):
        block.register_forward_pre_hook(lambda *_: torch.cuda._sleep(A_WHILE))


def made() -> Flux:
    torch.manual_seed(5)
    with GPU:
        flux = Flux(CONFIG).to(torch.bfloat16)
    flux.checkpointed_blocks = BLOCKS
    return flux.requires_grad_(False).eval()


def lora(flux: Flux) -> LoRANetwork:
    network = LoRANetwork(transformer=flux, clip=None, rank=4, alpha=4, seed=0)
    drawn = torch.Generator().manual_seed(3)
    for _, part in network.parts():
        nn.init.normal_(part.up, std=0.05, generator=drawn)
    return network.to(GPU)


class Training:
    """A training with the same inputs each time. A step reads nothing back from the GPU."""

    def __init__(self, flux: Flux, *, side: int) -> None:
        self.flux, self.network = flux, lora(flux)
        drawn = torch.Generator(GPU).manual_seed(1)
        tokens = (side // 2) ** 2
        self._inputs = (
            torch.randn(1, tokens, CONFIG.packed_channels, device=GPU, generator=drawn),
            image_ids(side, side, GPU),
            torch.randn(1, 128, CONFIG.text_width, device=GPU, generator=drawn),
            torch.randn(1, CONFIG.vector_width, device=GPU, generator=drawn),
            torch.full((1,), 0.5, device=GPU),
            torch.full((1,), 1.0, device=GPU),
        )

    def velocity(self) -> Tensor:
        with torch.autocast("cuda", torch.bfloat16):
            answer: Tensor = self.flux(*self._inputs)
        return answer.float()

    def step(self) -> Tensor:
        loss = self.velocity().square().mean()
        loss.backward()
        return loss.detach()

    def outcome(self) -> list[Tensor]:
        """Losses of three micro-steps, the gradients, and two predictions made without gradients."""
        losses = [self.step() for _ in range(3)]
        gradients = [parameter.grad for parameter in self.network.parameters() if parameter.grad is not None]
        with torch.no_grad():
            return [*losses, *gradients, self.velocity(), self.velocity()]


@pytest.mark.parametrize("side", [16, 128], ids=["64 tokens", "4096 tokens"])
@pytest.mark.parametrize("slow", ["nothing", "copies", "computing"])
def test_losses_and_gradients_are_the_same_bit_for_bit(slow: str, side: int) -> None:
    expected = [tensor.cpu() for tensor in Training(made(), side=side).outcome()]
    flux = made()
    if slow == "computing":
        # Before the swap installs its hooks, so that a copy that does not wait would overtake the computation.
        slow_computing(flux)
    copier = SlowCopies(GPU) if slow == "copies" else None
    block_swap.install(flux, blocks_to_swap=SWAPPED, device=GPU, copier=copier)
    found = [tensor.cpu() for tensor in Training(flux, side=side).outcome()]
    assert len(expected) == len(found)
    assert len(found) > BLOCKS
    assert [index for index, pair in enumerate(zip(expected, found, strict=True)) if not torch.equal(*pair)] == []


def peak_of_a_step(*, blocks_to_swap: int) -> int:
    flux = made()
    block_swap.install(flux, blocks_to_swap=blocks_to_swap, device=GPU)
    training = Training(flux, side=64)
    training.step()
    gc.collect()
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    training.step()
    torch.cuda.synchronize()
    return torch.cuda.max_memory_allocated()


def test_swapped_blocks_take_no_memory_on_the_gpu() -> None:
    plain, swapping = peak_of_a_step(blocks_to_swap=0), peak_of_a_step(blocks_to_swap=SWAPPED)
    flux = made()
    double, single = flux.stacks.fewer(SWAPPED)
    away = sum(
        count * sum(parameter.nbytes for parameter in kind[0].parameters())
        for count, kind in ((double, flux.double_blocks), (single, flux.single_blocks))
    )
    assert plain - swapping > 0.98 * away


def test_the_host_never_waits() -> None:
    flux = made()
    block_swap.install(flux, blocks_to_swap=SWAPPED, device=GPU)
    training = Training(flux, side=64)
    training.step()
    torch.cuda.set_sync_debug_mode("error")
    try:
        training.step()
    finally:
        torch.cuda.set_sync_debug_mode("default")
