# SPDX-License-Identifier: Apache-2.0
"""Block swap changes no bit. The hooks are the real ones; copies happen as early or as late as they ever can.

On a GPU a copy happens at some time between `start` and `wait`. The tests try both ends of that interval.
"""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from library.compute import block_swap, fp8
from library.compute.block_swap import AtOnce, Copier
from library.flux.config import FluxConfig
from library.flux.model import Flux
from library.lora.lora import LoRANetwork
from library.options.network_settings import read
from tests.sd_scripts.flux.oracle import inputs

CPU = torch.device("cpu")
CONFIG = FluxConfig(
    packed_channels=64,
    vector_width=24,
    text_width=24,
    hidden=64,
    mlp_hidden=256,
    head_width=32,
    double_blocks=4,
    single_blocks=6,
    guidance=True,
)
BLOCKS = CONFIG.double_blocks + CONFIG.single_blocks


class Late(AtOnce):
    """Copies only when a copy is waited for."""

    def __init__(self) -> None:
        self._asked: list[tuple[Tensor, Tensor] | None] = []

    def start(self, slot: Tensor, source: Tensor) -> object:
        self._asked.append((slot, source))
        return len(self._asked)

    def wait(self, started: object) -> None:
        assert isinstance(started, int)
        for index, pair in enumerate(self._asked[:started]):
            if pair is not None:
                super().start(*pair)
                self._asked[index] = None


COPIERS: list[type[AtOnce]] = [AtOnce, Late]


def base(prepare: Callable[[Flux], object] = lambda flux: flux) -> Flux:
    """A frozen Flux of 4 + 6 blocks with random weights, all different."""
    torch.manual_seed(7)
    flux = Flux(CONFIG).requires_grad_(False).eval()
    prepare(flux)
    return flux


def swapped(flux: Flux, number: int, copier: Copier | None = None, *, checkpointed: int = BLOCKS) -> Flux:
    """A copy of `flux` with `number` as --blocks_to_swap."""
    flux = copy.deepcopy(flux)
    flux.checkpointed_blocks = checkpointed
    block_swap.install(flux, blocks_to_swap=number, device=CPU, copier=copier)
    return flux


def lora(flux: Flux, settings: str = "") -> LoRANetwork:
    """A LoRA with random up matrices, so that it has an effect; the same each time."""
    pairs = [tuple(word.split("=", 1)) for word in settings.split()]
    network = LoRANetwork(transformer=flux, clip=None, rank=2, alpha=2, seed=0, settings=read(pairs))  # type: ignore[arg-type]
    drawn = torch.Generator().manual_seed(3)
    for _, part in network.parts():
        nn.init.normal_(part.up, std=0.05, generator=drawn)
    return network


def velocity(flux: Flux, seed: int = 1) -> Tensor:
    img, ids, txt, pooled, t, guidance = inputs(CONFIG)
    answer: Tensor = flux(img * seed, ids, txt, pooled, t, guidance)
    return answer


def trained(flux: Flux, network: LoRANetwork, *, micro_steps: int = 2, steps: int = 2) -> list[Tensor]:
    """Losses and gradients of steps with accumulation, each step followed by two predictions without gradients."""
    found = []
    for step in range(steps):
        network.zero_grad()
        for micro_step in range(micro_steps):
            loss = velocity(flux, seed=1 + micro_step + step).square().mean()
            loss.backward()
            found.append(loss.detach())
        found += [parameter.grad.clone() for parameter in network.parameters() if parameter.grad is not None]
        with torch.no_grad():
            found += [velocity(flux), velocity(flux)]
    return found


def assert_same(one: list[Tensor], other: list[Tensor]) -> None:
    assert len(one) == len(other) > 10
    assert [index for index, pair in enumerate(zip(one, other, strict=True)) if not torch.equal(*pair)] == []


def to_fp8(flux: Flux) -> None:
    weights = {name: module.weight.clone() for name, module in flux.named_modules() if isinstance(module, nn.Linear)}
    fp8.convert(flux)
    for name, module in flux.named_modules():
        if isinstance(module, fp8.Fp8Linear):
            module.weight.data, module.scale_weight = fp8.quantise(weights[name])
    flux.requires_grad_(False)


@pytest.mark.parametrize("copier", COPIERS)
@pytest.mark.parametrize("number", [1, 2, 4])
@pytest.mark.parametrize("settings", ["", "train_blocks=single", "train_double_block_indices=2"])
def test_losses_and_gradients_are_the_same_bit_for_bit(settings: str, number: int, copier: type[AtOnce]) -> None:
    plain, turning = base(), swapped(base(), number, copier())
    assert_same(trained(plain, lora(plain, settings)), trained(turning, lora(turning, settings)))


@pytest.mark.parametrize("copier", COPIERS)
@pytest.mark.parametrize("prepare", [to_fp8, lambda flux: flux.bfloat16()], ids=["fp8", "bf16"])
def test_weights_of_any_type_are_moved_with_all_that_belongs_to_them(
    prepare: Callable[[Flux], object], copier: type[AtOnce]
) -> None:
    plain, turning = base(prepare), swapped(base(prepare), 4, copier())
    with torch.autocast("cpu", torch.bfloat16):
        assert_same(trained(plain, lora(plain)), trained(turning, lora(turning)))


@pytest.mark.parametrize("copier", COPIERS)
@pytest.mark.parametrize("failing", [0, 1, 5, BLOCKS - 1])
@pytest.mark.parametrize("on_pass", ["forward", "backward"])
def test_a_pass_that_is_abandoned_halfway_does_no_harm(on_pass: str, failing: int, copier: type[AtOnce]) -> None:
    plain, turning = base(), swapped(base(), 4, copier())
    networks = lora(plain), lora(turning)
    expected = trained(plain, networks[0])
    passes = 0

    def fail(*_: object) -> None:
        nonlocal passes
        passes += 1
        if passes == ["forward", "backward"].index(on_pass) + 1:
            raise MemoryError("in the middle of a step")

    handle = [*turning.double_blocks, *turning.single_blocks][failing].register_forward_pre_hook(fail)
    with pytest.raises(MemoryError, match="in the middle"):
        velocity(turning).square().mean().backward()
    handle.remove()
    assert_same(expected, trained(turning, networks[1]))


class FailingOnce(AtOnce):
    """Fails half-way through its 16th copy. Four copies are made at the start, six in the forward pass and six in the
    backward pass; the 16th is the last, of the block with which the next pass begins."""

    def __init__(self) -> None:
        self._copies = 0

    def start(self, slot: Tensor, source: Tensor) -> object:
        self._copies += 1
        if self._copies == 16:
            slot[: len(slot) // 2].copy_(source[: len(slot) // 2])
            raise MemoryError("in the middle of a copy")
        return super().start(slot, source)


def test_a_failed_copy_is_retried() -> None:
    plain, turning = base(), swapped(base(), 4, FailingOnce())
    networks = lora(plain), lora(turning)
    with pytest.raises(MemoryError, match="of a copy"):
        velocity(turning).square().mean().backward()
    assert_same(trained(plain, networks[0]), trained(turning, networks[1]))


class Recording(AtOnce):
    """Records each copy as (index of the block that was computing or -1, index of the copied block)."""

    def __init__(self, original: Flux) -> None:
        blocks = [*original.double_blocks, *original.single_blocks]
        self._firsts = [next(block.parameters()).flatten() for block in blocks]
        self.computing = -1
        self.copies: list[tuple[int, int]] = []

    def start(self, slot: Tensor, source: Tensor) -> object:
        (copied,) = [
            index
            for index, first in enumerate(self._firsts)
            if first.nbytes <= len(source) and torch.equal(source[: first.nbytes].view(first.dtype), first)
        ]
        self.copies.append((self.computing, copied))
        return super().start(slot, source)

    def watch(self, flux: Flux) -> None:
        """Must be called before the swap installs its hooks, so that these hooks run first."""
        for index, block in enumerate([*flux.double_blocks, *flux.single_blocks]):

            def computes(*_: object, index: int = index) -> None:
                self.computing = index

            block.register_forward_pre_hook(computes)

    def take(self) -> list[tuple[int, int]]:
        taken, self.copies, self.computing = self.copies, [], -1
        return taken


def recorded(number: int) -> tuple[Flux, Recording]:
    flux = base()
    recording = Recording(flux)
    turning = copy.deepcopy(flux)
    turning.checkpointed_blocks = BLOCKS
    recording.watch(turning)
    block_swap.install(turning, blocks_to_swap=number, device=CPU, copier=recording)
    return turning, recording


def test_the_next_block_is_copied_while_one_computes_and_nothing_is_copied_twice() -> None:
    """The double blocks 0, 1 and 2 take turns, and the single blocks 4, 5, 7 and 8."""
    flux, recording = recorded(2)
    lora(flux)
    assert recording.take() == [(-1, 0), (-1, 1), (-1, 4), (-1, 5)]
    for _ in range(2):
        velocity(flux).square().mean().backward()
        assert recording.take() == [(1, 2), (5, 7), (7, 8), (7, 5), (5, 4), (1, 0)]
    with torch.no_grad():
        velocity(flux)
        # While the last single block in turn computes, the first one is copied for the next pass. 0 is not copied
        # while 2 computes, since it would overwrite 2.
        assert recording.take() == [(1, 2), (5, 7), (7, 8), (8, 4)]
        velocity(flux)
        assert recording.take() == [(0, 0), (1, 2), (4, 5), (5, 7), (7, 8), (8, 4)]


def test_a_step_copies_each_swapped_block_once_in_each_direction() -> None:
    flux, recording = recorded(4)
    lora(flux)
    recording.take()
    velocity(flux).square().mean().backward()
    copies = recording.take()
    assert len(copies) == 2 * (2 + 4)
    assert all(computing != copied for computing, copied in copies)


def test_frozen_blocks_are_prefetched_too() -> None:
    """With train_blocks=single the double blocks have no backward pass: the first is next after the last."""
    flux, recording = recorded(4)
    lora(flux, "train_blocks=single")
    velocity(flux).square().mean().backward()
    recording.take()
    velocity(flux).square().mean().backward()
    double = [pair for pair in recording.take() if pair[1] < CONFIG.double_blocks]
    assert double == [(0, 1), (1, 2), (2, 3), (3, 0)]


def tensors(module: nn.Module) -> list[Tensor]:
    return [*module.parameters(), *module.buffers()]


@pytest.mark.parametrize("prepare", [to_fp8, lambda flux: flux], ids=["fp8", "full"])
def test_only_two_slots_of_a_kind_are_on_the_device(prepare: Callable[[Flux], object]) -> None:
    """Of 4 + 6 blocks with 4 swapped, 2 double and 4 single ones fewer are on the device."""
    flux = swapped(base(prepare), 4)
    storages = [
        {tensor.untyped_storage().data_ptr() for block in blocks for tensor in tensors(block)}
        for blocks in (flux.double_blocks, flux.single_blocks)
    ]
    assert [len(found) for found in storages] == [2, 2]
    for mine, theirs in zip(tensors(flux), tensors(base(prepare)), strict=True):
        assert (mine.shape, mine.dtype, mine.requires_grad) == (theirs.shape, theirs.dtype, False)


def test_a_swapped_block_must_be_checkpointed() -> None:
    flux = swapped(base(), 4, checkpointed=BLOCKS - 1)
    lora(flux)
    with pytest.raises(AssertionError, match="block 9 takes turns"):
        velocity(flux)


def test_autograd_refuses_an_overwritten_slot(monkeypatch: pytest.MonkeyPatch) -> None:
    """Even if checkpointing failed to work, there would be an error and not a wrong gradient."""
    monkeypatch.setattr("library.compute.transformer.checkpoint", lambda block, *given, **_: block(*given))
    flux = swapped(base(), 4)
    lora(flux)
    loss = velocity(flux).square().mean()
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()
