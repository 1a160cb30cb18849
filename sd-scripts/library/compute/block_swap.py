# SPDX-License-Identifier: Apache-2.0
"""Block swap: some blocks of the frozen transformer take turns in the device's memory if it cannot hold them all.

The blocks of one kind that take turns are in the host's memory and share two slots on the device: while one computes,
the next is copied into the other slot. Frozen weights do not change, so nothing is copied back.

Invariants:
  * A block computes with its own weights. Before it computes, its hook waits for them, and starts the copy itself if
    no earlier hook did: after an abandoned pass, or in an order that `swap_order.following` does not predict.
  * A slot is overwritten only after everything that reads it. A copy starts when another block of the same kind is
    about to compute. By then, all work of the slot's previous block is in the device's queue, its backward pass
    included, since autograd runs the nodes of later blocks first; and the copy waits for that queue.
  * No pass needs weights that an earlier pass put into a slot: a block that takes turns is checkpointed, so its
    backward pass runs the hook again. If one were not checkpointed, autograd would raise an error, since weights are
    views of the slot and share its version counter.
"""

from __future__ import annotations

import mmap
import weakref
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn

from library.compute import swap_order
from library.compute.swap_order import Stacks
from library.compute.transformer import Transformer
from library.errors import TrainerError

# Each tensor in a slot begins at a multiple of this many bytes, as with PyTorch's own allocator on a GPU.
ALIGNMENT = 512


class Copier(Protocol):
    """Copies bytes from the host to a slot."""

    def start(self, slot: Tensor, source: Tensor) -> object:
        """Starts a copy that runs after all work queued on the device so far. Returns the argument for `wait`."""

    def wait(self, started: object) -> None:
        """Makes all work that is queued on the device from here on run after the copy."""


class AtOnce:
    """The copier for a CPU, which has no queue: every copy is complete when `start` returns."""

    def start(self, slot: Tensor, source: Tensor) -> object:
        slot.copy_(source)
        return None

    def wait(self, started: object) -> None:
        """Nothing to wait for."""


class BesideComputing:
    """The copier for a GPU, which copies on a separate stream. The streams wait for each other on the GPU; the host
    never waits."""

    def __init__(self, device: torch.device) -> None:
        self._device, self._stream = device, torch.cuda.Stream(device)

    def start(self, slot: Tensor, source: Tensor) -> object:
        self._stream.wait_stream(torch.cuda.current_stream(self._device))
        with torch.cuda.stream(self._stream):
            slot.copy_(source, non_blocking=True)
            return self._stream.record_event()

    def wait(self, started: object) -> None:
        assert isinstance(started, torch.cuda.Event)
        torch.cuda.current_stream(self._device).wait_event(started)


def stays(stacks: Stacks, *, blocks_to_swap: int, device: torch.device) -> Callable[[str], torch.device]:
    """A function from a tensor's key to the device to load it to: the CPU for blocks that take turns."""
    names = stacks.names
    on_host = tuple(f"{names[index]}." for indices in stacks.in_turn(blocks_to_swap) for index in indices)

    def place(key: str) -> torch.device:
        return torch.device("cpu") if key.startswith(on_host) else device

    return place


def install(
    transformer: Transformer, *, blocks_to_swap: int, device: torch.device, copier: Copier | None = None
) -> None:
    """Sets up slots and hooks for the blocks of a frozen transformer that take turns; moves the rest to the device.

    Call this before the LoRA is put on the transformer. Without `copier`, the device's usual one is used. Raises
    TrainerError if the host's memory cannot be page-locked for a GPU.
    """
    if copier is None:
        copier = BesideComputing(device) if device.type == "cuda" else AtOnce()
    blocks = transformer.blocks
    for indices in transformer.stacks.in_turn(blocks_to_swap):
        if indices:
            turns = _Turns([blocks[index] for index in indices], device=device, copier=copier)
            transformer.register_forward_pre_hook(turns.begin_pass)
            for place, index in enumerate(indices):
                blocks[index].register_forward_pre_hook(_hook(transformer, turns, index=index, place=place))
    transformer.to(device)


def _hook(
    transformer: Transformer, turns: _Turns, *, index: int, place: int
) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
    def before_block(_block: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        assert index < transformer.checkpointed_blocks or not torch.is_grad_enabled(), (
            f"block {index} takes turns, so it must be checkpointed"
        )
        turns.use(place, goes_back=any(tensor.requires_grad for tensor in inputs))

    return before_block


@dataclass(kw_only=True)
class _Slot:
    """Memory on the device. `holds`: the place of the block whose weights are in it, or are being copied to it."""

    memory: Tensor
    holds: int | None = None
    copy: object = None


class _Turns:
    """The blocks of one kind that take turns. The block at place p always computes in slot p % 2, so its weights keep
    their address."""

    def __init__(self, blocks: Sequence[nn.Module], *, device: torch.device, copier: Copier) -> None:
        self._copier = copier
        size = _size(blocks[0])
        self._slots = [
            _Slot(memory=torch.empty(size, dtype=torch.uint8, device=device)) for _ in range(swap_order.SLOTS)
        ]
        self._on_host = [_host_memory(size, page_locked=device.type == "cuda") for _ in blocks]
        for place, block in enumerate(blocks):
            _move(block, self._on_host[place], self._slot_of(place).memory)
        self._latest: int | None = None
        for place in range(swap_order.SLOTS):
            self._bring(place)

    def begin_pass(self, *_: object) -> None:
        """Notes that a forward pass begins, whether or not the one before was completed."""
        self._latest = None

    def use(self, place: int, *, goes_back: bool) -> None:
        """Called before the block at `place` computes: waits for its weights, and starts to copy the next block's."""
        backward = self._latest is not None and place <= self._latest
        self._latest = place
        self._bring(place)
        self._copier.wait(self._slot_of(place).copy)
        following = swap_order.following(place, places=len(self._on_host), backward=backward, goes_back=goes_back)
        if self._slot_of(following) is not self._slot_of(place):
            self._bring(following)

    def _slot_of(self, place: int) -> _Slot:
        return self._slots[place % swap_order.SLOTS]

    def _bring(self, place: int) -> None:
        slot = self._slot_of(place)
        if slot.holds != place:
            slot.holds = None
            slot.copy = self._copier.start(slot.memory, self._on_host[place])
            slot.holds = place


def _tensors(block: nn.Module) -> Iterator[tuple[nn.Module, str, Tensor, int]]:
    """(module, name in it, tensor, first byte in a slot) of a block's parameters and buffers, fp8 scales included."""
    offset = 0
    for module in block.modules():
        for name, tensor in (*module.named_parameters(recurse=False), *module.named_buffers(recurse=False)):
            yield module, name, tensor, offset
            offset += -(-tensor.nbytes // ALIGNMENT) * ALIGNMENT


def _size(block: nn.Module) -> int:
    """The size of a slot for this block, in bytes."""
    return sum(-(-tensor.nbytes // ALIGNMENT) * ALIGNMENT for _, _, tensor, _ in _tensors(block))


def _move(block: nn.Module, host: Tensor, slot: Tensor) -> None:
    """Copies a block's weights to `host`, and replaces them by views of `slot`."""
    assert _size(block) == len(host), "blocks of a kind have the same shapes and types"
    for module, name, tensor, offset in list(_tensors(block)):
        assert not tensor.requires_grad, "only what is frozen takes turns"
        _view(host, tensor, offset).copy_(tensor)
        view = _view(slot, tensor, offset)
        is_parameter = isinstance(tensor, nn.Parameter)
        setattr(module, name, nn.Parameter(view, requires_grad=False) if is_parameter else view)


def _view(memory: Tensor, like: Tensor, offset: int) -> Tensor:
    return memory[offset : offset + like.nbytes].view(like.dtype).view(like.shape)


def _host_memory(size: int, *, page_locked: bool) -> Tensor:
    """A buffer of `size` bytes in pages of its own. PyTorch's pin_memory() would round up to a power of two."""
    memory = torch.frombuffer(mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS), dtype=torch.uint8)
    if page_locked:
        cuda = torch.cuda.cudart()
        if error := int(cuda.cudaHostRegister(memory.data_ptr(), size, 0)):
            raise TrainerError(
                f"--blocks_to_swap: {size / 1e6:.0f} MB of memory for one block cannot be page-locked "
                f"({torch.cuda.CudaError(error)}); free some memory, or use a smaller number"
            )
        weakref.finalize(memory, cuda.cudaHostUnregister, memory.data_ptr())
    return memory
