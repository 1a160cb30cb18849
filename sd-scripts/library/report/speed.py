# SPDX-License-Identifier: Apache-2.0
"""How fast a training is: seconds per step, pictures per second, and the share of the GPU's peak (MFU). Pure.

MFU (model FLOPs utilisation, arXiv 2204.02311, appendix B) counts the work that the mathematics needs: the forward
pass, the gradients of activations through the frozen weights, and the LoRA's own gradients. Work that is repeated to
save memory, in checkpointed blocks and in flash attention's backward pass, does not count. A multiplication and an
addition are two FLOPs; norms, activation functions and the optimizer (below 1 %) and CLIP-L do not count.
"""

from __future__ import annotations

import collections
import statistics
from collections.abc import Mapping
from dataclasses import dataclass

from library.lora import keys
from library.options.trained_layers import TRANSFORMER_PREFIX

TERA = 1e12
# FLOP/s of dense bf16 with sums in fp32, from NVIDIA's data sheets. If a device's name contains several of these
# names, the longest one applies.
PEAKS = {
    "B200": 2250 * TERA,
    "H200": 989 * TERA,
    "H200 NVL": 835 * TERA,
    "H100": 989 * TERA,
    "H100 PCIe": 756 * TERA,
    "H100 NVL": 835 * TERA,
    "A100": 312 * TERA,
    "A40": 150 * TERA,
    "RTX A6000": 155 * TERA,
    "L40S": 362 * TERA,
    "L4": 121 * TERA,
    "RTX 6000 Ada": 364 * TERA,
    "RTX 5090": 209 * TERA,
    "RTX 4090": 165 * TERA,
    "RTX 3090": 71 * TERA,
    "RTX 3090 Ti": 80 * TERA,
}
# Steps that are not measured: they compile, choose kernels and fill the allocators' caches.
WARM_UP_STEPS = 3
# How many of the latest steps the medians cover. A median ignores the few steps that something else slowed down.
STEPS_KEPT = 100


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


def peak_of(device_name: str) -> float | None:
    """FLOP/s in bf16 of a device, by NVIDIA's name for it; None if unknown."""
    found = [name for name in PEAKS if name in device_name]
    return PEAKS[max(found, key=len)] if found else None


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


class PictureCost:
    """The FLOPs that MFU counts for one picture, given transformer and LoRA. Computed once for each size."""

    def __init__(self, shapes: Mapping[str, tuple[int, ...]], ranks: Mapping[str, int]) -> None:
        self._shapes, self._ranks = shapes, ranks
        self._known: dict[tuple[int, int], int] = {}

    def of(self, *, image_tokens: int, text_tokens: int) -> int:
        size = (image_tokens, text_tokens)
        if size not in self._known:
            found = flops(self._shapes, self._ranks, image_tokens=image_tokens, text_tokens=text_tokens)
            self._known[size] = found.counted
        return self._known[size]


@dataclass(frozen=True, kw_only=True)
class Speed:
    """Medians over the latest steps. `mfu`: from 0 to 1; None if the GPU's peak is unknown."""

    seconds_per_step: float
    images_per_second: float
    mfu: float | None


@dataclass(frozen=True, kw_only=True)
class _Step:
    seconds: float
    images: int
    flops: int


class Speedometer:
    """Measures a run's steps. `peak`: FLOP/s of this process's device; None if unknown."""

    def __init__(self, *, peak: float | None) -> None:
        self._peak = peak
        self._seen = 0
        self._steps: collections.deque[_Step] = collections.deque(maxlen=STEPS_KEPT)

    def add(self, *, seconds: float, images: int, flops: int) -> None:
        """Adds one optimizer step. `images`: those of all processes; `flops`: those of this process's device."""
        self._seen += 1
        if self._seen > WARM_UP_STEPS:
            self._steps.append(_Step(seconds=seconds, images=images, flops=flops))

    @property
    def speed(self) -> Speed | None:
        """The current speed; None until a step after the warm-up."""
        if not self._steps:
            return None
        rate = statistics.median(step.flops / step.seconds for step in self._steps)
        return Speed(
            seconds_per_step=statistics.median(step.seconds for step in self._steps),
            images_per_second=statistics.median(step.images / step.seconds for step in self._steps),
            mfu=rate / self._peak if self._peak else None,
        )


def sentence(speed: Speed, *, peak_memory: int, on_gpu: bool) -> str:
    """A line for people. `peak_memory`: bytes, of the GPU (`on_gpu`) or of the process."""
    share = "" if speed.mfu is None else f", {speed.mfu:.0%} of the GPU's peak (MFU)"
    memory = "GPU memory" if on_gpu else "memory"
    return (
        f"speed: {speed.seconds_per_step:.3f} s per step, {speed.images_per_second:.2f} images/s{share}, "
        f"peak {memory} {peak_memory / 1e9:.1f} GB"
    )
