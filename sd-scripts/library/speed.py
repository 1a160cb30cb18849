# SPDX-License-Identifier: Apache-2.0
"""How fast a training is: steps, pictures a second, and the share of what the GPU could compute (MFU). Pure.

MFU (model FLOPs utilisation, arXiv 2204.02311, appendix B) counts what the mathematics needs: the forward pass, the
gradients of activations through the frozen weights, and the LoRA's own. What is computed twice to save memory, in
checkpointed blocks and inside flash attention's backward pass, is not counted. A multiplication and an addition are
two FLOPs; norms, activations and the optimizer are left out (below 1 %), and so is CLIP-L.
"""

from __future__ import annotations

import collections
import statistics
from collections.abc import Mapping
from dataclasses import dataclass

TERA = 1e12
# Dense bf16 with sums in fp32, from NVIDIA's data sheets; the longest name that a device's name contains counts.
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
# The first steps compile, choose kernels and fill the allocators' caches.
WARM_UP_STEPS = 3
# So many steps are looked back on; medians of them leave out those in which something else happened.
STEPS_KEPT = 100


@dataclass(frozen=True, kw_only=True)
class Flops:
    """Of one picture's forward and backward pass. `recomputed`: what checkpointed blocks compute once more."""

    forward: int
    backward: int
    recomputed: int

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
    checkpointed_blocks: int = 0,
) -> Flops:
    """For one picture. `shapes`: of the transformer's tensors by their keys; `ranks`: of the LoRA's layers by theirs.

    The gradient goes back to the first block that is trained, and not to the vector that modulates the blocks.
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
        recomputed=sum(passes[block].forward for block in blocks[:checkpointed_blocks]),
    )


def block_names(shapes: Mapping[str, tuple[int, ...]]) -> list[str]:
    """`double_blocks.0` and so on, in the order in which they are computed."""
    found = {_block(key) for key in shapes if key.startswith(("double_blocks.", "single_blocks."))}
    return sorted(found, key=lambda name: (name.partition(".")[0], int(name.partition(".")[2])))


def peak_of(device_name: str) -> float | None:
    """FLOP/s in bf16 of a device by NVIDIA's name for it; None where it is not known."""
    found = [name for name in PEAKS if name in device_name]
    return PEAKS[max(found, key=len)] if found else None


def _block(key: str) -> str:
    return ".".join(key.split(".")[:2])


def _layer(key: str) -> str:
    return "lora_unet_" + key.removesuffix(".weight").replace(".", "_")


def _rows(key: str, *, image_tokens: int, text_tokens: int) -> int:
    """How many rows a layer's input has for one picture: one for each token, or one for what modulates them."""
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
    """x W, and its LoRA: x D, then (x D) U. Back: one product for the gradient of x, and for the LoRA two for each of
    its matrices, without that of x where nobody asks for it."""
    width_out, width_in = shape
    frozen, down, up = (2 * rows * numbers for numbers in (width_out * width_in, rank * width_in, rank * width_out))
    through = frozen + down if input_has_gradient else 0
    return _Pass(forward=frozen + down + up, backward=through + down + 2 * up)


def _attention(shapes: Mapping[str, tuple[int, ...]], block: str, tokens: int) -> _Pass:
    """Two products of (tokens x tokens x hidden) forward, four back."""
    hidden = shapes[f"{block}.linear2.weight" if block.startswith("single") else f"{block}.img_attn.proj.weight"][0]
    product = 2 * tokens * tokens * hidden
    return _Pass(forward=2 * product, backward=4 * product)


def _sum(one: _Pass, other: _Pass) -> _Pass:
    return _Pass(forward=one.forward + other.forward, backward=one.backward + other.backward)


class PictureCost:
    """FLOPs that MFU counts of one picture, of one transformer and LoRA. Worked out once for each size."""

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
    """Medians. `mfu`: a share of 1; None where the GPU's peak is not known."""

    seconds_per_step: float
    images_per_second: float
    mfu: float | None


@dataclass(frozen=True, kw_only=True)
class _Step:
    seconds: float
    images: int
    flops: int


class Speedometer:
    """Takes in a run's steps. `peak`: FLOP/s of the devices that share the work together, None if not known."""

    def __init__(self, *, peak: float | None) -> None:
        self._peak = peak
        self._seen = 0
        self._steps: collections.deque[_Step] = collections.deque(maxlen=STEPS_KEPT)

    def add(self, *, seconds: float, images: int, flops: int) -> None:
        """One optimizer step, of all its batches."""
        self._seen += 1
        if self._seen > WARM_UP_STEPS:
            self._steps.append(_Step(seconds=seconds, images=images, flops=flops))

    @property
    def speed(self) -> Speed | None:
        """None before the first step that counts."""
        if not self._steps:
            return None
        rate = statistics.median(step.flops / step.seconds for step in self._steps)
        return Speed(
            seconds_per_step=statistics.median(step.seconds for step in self._steps),
            images_per_second=statistics.median(step.images / step.seconds for step in self._steps),
            mfu=rate / self._peak if self._peak else None,
        )


def sentence(speed: Speed, *, peak_memory: int, on_gpu: bool) -> str:
    """A line for people. `peak_memory` in bytes, of the GPU or else of the process."""
    share = "" if speed.mfu is None else f", {speed.mfu:.0%} of what the GPU can compute (MFU)"
    memory = "GPU memory" if on_gpu else "memory"
    return (
        f"speed: {speed.seconds_per_step:.3f} s a step, {speed.images_per_second:.2f} images/s{share}, "
        f"{peak_memory / 1e9:.1f} GB of {memory} at most"
    )
