# SPDX-License-Identifier: Apache-2.0
"""What a training needs of disks and of the host's memory, in bytes, and when that is refused. Pure.

Only what is surely needed is reckoned with: what cannot fit is refused before anything is loaded, what may fit is
tried. (`footprint` has the GPU's memory.)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from library.errors import TrainerError
from library.network_settings import IN_LAYERS, NetworkSettings

FP32, INT64 = 4, 8
BYTES = {"fp16": 2, "bf16": 2, "float": FP32, None: FP32}
# Numbers that an optimizer keeps for each that it trains. Of one that is not named here nothing is known: its state
# may be empty, and its memory is taken to be Adam's.
MOMENTS = {
    "adafactor": 0,
    "adam": 2,
    "adamw": 2,
    # In 8 bits; where fused AdamW stands in for it, it is that one's.
    "adamw8bit": 2,
    "adamwschedulefree": 2,
    "lion": 1,
    "pagedadamw": 2,
    "pagedadamw32bit": 2,
    "pagedadamw8bit": 2,
    # The weights that it began with, too, and a sum of its own.
    "prodigy": 4,
    "sgd": 0,
    "sgdnesterov": 1,
}
MOMENTS_OF_ADAM = 2
# Those whose state on the disk has less.
SMALLER_ON_DISK = {"adamw8bit", "pagedadamw8bit"}
TRAINED = ("double_blocks", "single_blocks", *IN_LAYERS)
CLIP_LAYERS, CLIP_TRAINED = "text_model.encoder.layers.", (".self_attn.", ".mlp.")


def lora_numbers(shapes: Mapping[str, tuple[int, ...]], settings: NetworkSettings, *, rank: int) -> int:
    """How many numbers the transformer's LoRA has: rank (in + out) for each matrix that is trained."""
    total = 0
    for key, shape in shapes.items():
        if key.partition(".")[0] in TRAINED and key.endswith(".weight") and len(shape) == 2:
            name = "lora_unet_" + key.removesuffix(".weight").replace(".", "_")
            total += settings.rank_of(name, rank) * sum(shape)
    return total


def clip_lora_numbers(shapes: Mapping[str, tuple[int, ...]], settings: NetworkSettings, *, rank: int) -> int:
    """The same of CLIP-L's, whose shapes are those of its file."""
    total = 0
    for key, shape in shapes.items():
        if key.startswith(CLIP_LAYERS) and any(part in key for part in CLIP_TRAINED) and len(shape) == 2:
            total += settings.rank_of("lora_te1_" + key.removesuffix(".weight").replace(".", "_"), rank) * sum(shape)
    return total


def copies(optimizer: str, *, average: bool, processes: int) -> int:
    """How often the LoRA is kept in fp32 on the device: itself, its gradient, what the optimizer keeps of it, a
    moving average, and what several processes add up."""
    return 2 + MOMENTS.get(optimizer.lower(), MOMENTS_OF_ADAM) + average + (processes > 1)


def lora_and_state(lora: int, *, optimizer: str, save_precision: str | None) -> int:
    """Bytes of one LoRA and one state, which every stop saves. `lora`: its numbers."""
    name = optimizer.lower()
    moments = 0 if name in SMALLER_ON_DISK else MOMENTS.get(name, 0)
    return lora * (BYTES[save_precision] + (1 + moments) * FP32)


def caption(*, tokens: int, text_width: int, vector_width: int) -> int:
    """Bytes of one caption's embeddings: T5's tokens, their positions and mask, CLIP's vector. 8.4 MB of FLUX.1."""
    return tokens * (text_width * FP32 + 3 * FP32 + INT64) + vector_width * FP32


def latents(area: int, *, channels: int, mirrored: bool, masked: bool) -> int:
    """Bytes of one picture's latents, an eighth as wide and high as its `area` pixels; with the mirrored ones, and
    the mask's pixels."""
    return area // 64 * channels * FP32 * (1 + mirrored) + area * FP32 * masked


@dataclass(frozen=True, kw_only=True)
class Demand:
    """Bytes for one thing. `what` and `where`, if it has a place, go into a sentence."""

    count: int
    what: str
    where: str = ""


def check_disk(demands: Sequence[Demand], *, free: int) -> None:
    """All of one disk. Raises TrainerError with the numbers where they do not fit."""
    if sum(demand.count for demand in demands) > free:
        parts = " and ".join(f"{_gb(demand.count)} for {demand.what} in {demand.where}" for demand in demands)
        raise TrainerError(
            f"this training needs at least {parts}, and {_gb(free)} are free there; free some space, use a smaller "
            "--network_dim, or keep no caches on the disk"
        )


def check_host(demands: Sequence[Demand], *, free: int) -> None:
    """All of the host's memory. Raises TrainerError with the numbers where they do not fit."""
    needed = sum(demand.count for demand in demands)
    if needed > free:
        parts = ", ".join(f"{_gb(demand.count)} for {demand.what}" for demand in demands if demand.count)
        raise TrainerError(
            f"this training needs at least {_gb(needed)} of the host's memory ({parts}), and {_gb(free)} are "
            "available; end other programs, use --cache_text_encoder_outputs_to_disk and --cache_latents_to_disk, "
            "or a machine with more"
        )


def _gb(count: int) -> str:
    return f"{count / 1e9:.1f} GB"
