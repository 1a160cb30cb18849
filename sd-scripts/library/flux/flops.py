# SPDX-License-Identifier: Apache-2.0
"""The FLOPs of a forward and backward pass of FLUX.1's transformer with a LoRA on it. Pure, and without torch.

They are the work that the mathematics needs: the forward pass, the gradients of activations through the frozen
weights, and the LoRA's own gradients (`report.speed` says what does not count).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from library.lora import keys
from library.options.trained_layers import TRANSFORMER_PREFIX


@dataclass(frozen=True, kw_only=True)
class Flops:
    """FLOPs of one picture's forward and backward pass."""

    forward: int
    backward: int

    @property
    def counted(self) -> int:
        """What MFU counts."""
        return self.forward + self.backward


@dataclass(frozen=True, kw_only=True)
class _Pass:
    forward: int = 0
    backward: int = 0


def flops(
    shapes: Mapping[str, tuple[int, ...]],
    ranks: Mapping[str, int],
    *,
    image_tokens: int,
    text_tokens: int,
) -> Flops:
    """The FLOPs for one picture. `shapes`: those of the transformer's tensors, by key; `ranks`: those of the LoRA's
    layers, by name.

    The gradient goes back to the first trained block, and not to the vector that modulates the blocks.
    """
    blocks = block_names(shapes)
    passes = {block: _attention(shapes, block, image_tokens + text_tokens) for block in blocks}
    rest = _Pass()
    trained = {key for key in shapes if key.endswith(".weight") and _layer(key) in ranks}
    first = min((blocks.index(_block(key)) if _block(key) in blocks else 0 for key in trained), default=len(blocks))
    for key, shape in shapes.items():
        if not key.endswith(".weight") or len(shape) != 2:
            continue
        rows = _rows(key, image_tokens=image_tokens, text_tokens=text_tokens)
        one = _linear(shape, rows=rows, rank=ranks.get(_layer(key), 0), input_has_gradient=rows > 1)
        block = _block(key)
        if block in passes:
            passes[block] = _sum(passes[block], one)
        else:
            ends = key.startswith("final_layer.linear")
            rest = _sum(rest, one if ends or key in trained else _Pass(forward=one.forward))
    return Flops(
        forward=rest.forward + sum(one.forward for one in passes.values()),
        backward=(rest.backward if trained else 0) + sum(passes[block].backward for block in blocks[first:]),
    )


def block_names(shapes: Mapping[str, tuple[int, ...]]) -> list[str]:
    """The blocks' names, such as `double_blocks.0`, in the order in which they are computed."""
    found = {_block(key) for key in shapes if key.startswith(("double_blocks.", "single_blocks."))}
    return sorted(found, key=lambda name: (name.partition(".")[0], int(name.partition(".")[2])))


def _block(key: str) -> str:
    return ".".join(key.split(".")[:2])


def _layer(key: str) -> str:
    return keys.layer_name(TRANSFORMER_PREFIX, key.removesuffix(".weight"))


def _rows(key: str, *, image_tokens: int, text_tokens: int) -> int:
    """How many rows a layer's input has for one picture: one per token, or a single one for the modulating vector."""
    kind, *path = key.split(".")
    if kind == "single_blocks":
        return 1 if path[1] == "modulation" else image_tokens + text_tokens
    if kind == "double_blocks":
        if path[1].endswith("_mod"):
            return 1
        return image_tokens if path[1].startswith("img_") else text_tokens
    return {"img_in": image_tokens, "txt_in": text_tokens, "final_layer": image_tokens}.get(
        kind if path[0] != "adaLN_modulation" else "", 1
    )


def _linear(shape: tuple[int, ...], *, rows: int, rank: int, input_has_gradient: bool) -> _Pass:
    """FLOPs of a layer. Forward: x W, and for the LoRA x D and (x D) U. Backward: one product with W for the gradient
    of x, and two for each matrix of the LoRA; without those for the gradient of x if it is not needed."""
    width_out, width_in = shape
    frozen, down, up = (2 * rows * numbers for numbers in (width_out * width_in, rank * width_in, rank * width_out))
    through = frozen + down if input_has_gradient else 0
    return _Pass(forward=frozen + down + up, backward=through + down + 2 * up)


def _attention(shapes: Mapping[str, tuple[int, ...]], block: str, tokens: int) -> _Pass:
    """FLOPs of attention: two products of (tokens x tokens x hidden) forward, four backward."""
    hidden = shapes[f"{block}.linear2.weight" if block.startswith("single") else f"{block}.img_attn.proj.weight"][0]
    product = 2 * tokens * tokens * hidden
    return _Pass(forward=2 * product, backward=4 * product)


def _sum(one: _Pass, other: _Pass) -> _Pass:
    return _Pass(forward=one.forward + other.forward, backward=one.backward + other.backward)
