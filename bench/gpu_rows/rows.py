# SPDX-License-Identifier: Apache-2.0
"""What bench/trainer_gpu.py runs, the most telling rows first. Pure: no torch, nothing is started.

A row is one training in a process of its own: whose trainer, at which size of picture, with which flags of the
trainer's own command line. Both trainers take the flags of COMMON; a row adds what it is about.
"""

from __future__ import annotations

from dataclasses import dataclass

OURS, THEIRS, CEILINGS = "ours", "sd-scripts", "ceilings"
BATCH, RANK = 1, 16
WARM_UP_STEPS = 3
# Seconds that a row may take, its start included, and that must be left for it to begin.
EAGER_LIMIT, EAGER_NEED = 60, 14
COMPILED_LIMIT, COMPILED_NEED = 150, 35
PIXELS_PER_TOKEN = 16 * 16

# FluxGym's own flags, but for what is said in `USUAL`, and for the optimizer, which needs bitsandbytes there.
COMMON = f"""
    --cache_latents_to_disk --cache_text_encoder_outputs --cache_text_encoder_outputs_to_disk
    --max_data_loader_n_workers 2 --persistent_data_loader_workers --seed 42 --mixed_precision bf16
    --save_precision bf16 --sdpa --network_module networks.lora_flux --network_dim {RANK} --network_alpha {RANK}
    --network_train_unet_only --optimizer_type adamw --learning_rate 1e-4 --max_grad_norm 1.0
    --timestep_sampling shift --discrete_flow_shift 3.1582 --model_prediction_type raw --guidance_scale 1
    --loss_type l2
"""
USUAL = "--gradient_checkpointing --fp8_base --highvram"


@dataclass(frozen=True, kw_only=True)
class Size:
    """A Flux and its pictures. `pixels`: the sides that stand for 512, 768 and 1024. `blocks_to_swap` is sd-scripts'
    number."""

    hidden: int
    head_width: int
    text_width: int
    vector_width: int
    double_blocks: int
    single_blocks: int
    text_tokens: int
    pixels: tuple[int, int, int]
    blocks_to_swap: int

    @property
    def blocks(self) -> int:
        return self.double_blocks + self.single_blocks

    def tokens(self, pixels: int) -> int:
        """Of a picture of this side, and of its text."""
        return pixels * pixels // PIXELS_PER_TOKEN + self.text_tokens


SIZES = {
    # FLUX.1 dev.
    "full": Size(
        hidden=3072,
        head_width=128,
        text_width=4096,
        vector_width=768,
        double_blocks=19,
        single_blocks=38,
        text_tokens=512,
        pixels=(512, 768, 1024),
        blocks_to_swap=18,
    ),
    "small": Size(
        hidden=1024,
        head_width=128,
        text_width=1024,
        vector_width=768,
        double_blocks=4,
        single_blocks=8,
        text_tokens=128,
        pixels=(128, 192, 256),
        blocks_to_swap=2,
    ),
    "tiny": Size(
        hidden=128,
        head_width=64,
        text_width=64,
        vector_width=64,
        double_blocks=4,
        single_blocks=4,
        text_tokens=16,
        pixels=(64, 96, 128),
        blocks_to_swap=2,
    ),
}


@dataclass(frozen=True, kw_only=True)
class Row:
    """`name`, `whose` and `pixels` together are unique. `pixels` is an index into Size.pixels. `checkpointed` is a
    share of the blocks, for which there is no flag; None where the flags decide. `compiled`: whether the trainer
    compiles, which takes time. `needs_gpu`: whether there is no such thing on a CPU."""

    name: str
    whose: str
    pixels: int
    flags: str = ""
    checkpointed: float | None = None
    compiled: bool = False
    needs_gpu: bool = False

    @property
    def limit(self) -> float:
        return COMPILED_LIMIT if self.compiled else EAGER_LIMIT

    @property
    def need(self) -> float:
        return COMPILED_NEED if self.compiled else EAGER_NEED


# Names that the goals are about.
BEST = "compiled, all activations kept"
SAME_FLAGS = "FluxGym's usual flags"
FLASH = "compiled, flash attention"
NO_CHECKPOINTING = "eager, all activations kept"
WHOLE_COMPILED = "--torch_compile, all activations kept"
LOW, MIDDLE, HIGH = range(3)


def rows(size: Size, *, compiled: str, eager: str) -> list[Row]:
    """All rows. `compiled` and `eager`: the flags that make our trainer compile, and not compile, its blocks."""
    swap = f"--blocks_to_swap {size.blocks_to_swap}"

    def ours(name: str, pixels: int, flags: str, *, checkpointed: float | None = 0.0) -> Row:
        compiles = flags == USUAL or flags.startswith(compiled)
        return Row(
            name=name,
            whose=OURS,
            pixels=pixels,
            flags=flags,
            checkpointed=checkpointed,
            compiled=compiles,
            needs_gpu="cudnn" in flags or "efficient" in flags,
        )

    def theirs(name: str, pixels: int, flags: str = "") -> Row:
        return Row(name=name, whose=THEIRS, pixels=pixels, flags=flags, compiled="--torch_compile" in flags)

    return [
        Row(name="ceilings", whose=CEILINGS, pixels=LOW),
        # The goals of issue 5, item 6.
        ours(BEST, HIGH, compiled),
        ours(BEST, LOW, compiled),
        theirs(SAME_FLAGS, LOW, USUAL),
        theirs(NO_CHECKPOINTING, LOW),
        ours(SAME_FLAGS, LOW, USUAL, checkpointed=None),
        theirs(SAME_FLAGS, HIGH, USUAL),
        theirs(NO_CHECKPOINTING, HIGH),
        ours(SAME_FLAGS, HIGH, USUAL, checkpointed=None),
        ours(BEST, MIDDLE, compiled),
        # In case that the card's fastest kernel does not get through the compiler.
        ours(FLASH, HIGH, f"{compiled} --attention flash"),
        # What each part brings; what takes least time is first.
        ours(NO_CHECKPOINTING, HIGH, eager),
        ours(NO_CHECKPOINTING, LOW, eager),
        ours("eager, cuDNN's attention", HIGH, f"{eager} --attention cudnn"),
        ours("eager, flash attention", HIGH, f"{eager} --attention flash"),
        ours("eager, efficient attention", HIGH, f"{eager} --attention efficient"),
        ours("eager, --deterministic", HIGH, f"{eager} --deterministic"),
        ours("eager, blocks swapped", HIGH, f"{eager} {swap}", checkpointed=None),
        ours("eager, fp8 base, blocks swapped", HIGH, f"{eager} --fp8_base {swap}", checkpointed=None),
        ours("compiled, half checkpointed", HIGH, compiled, checkpointed=0.5),
        ours("compiled, all checkpointed", HIGH, compiled, checkpointed=1.0),
        ours("compiled, fp8 base", HIGH, f"{compiled} --fp8_base"),
        ours("compiled, half checkpointed", LOW, compiled, checkpointed=0.5),
        ours("compiled, all checkpointed", LOW, compiled, checkpointed=1.0),
        theirs(WHOLE_COMPILED, LOW, "--torch_compile --dynamo_backend inductor"),
        theirs(WHOLE_COMPILED, HIGH, "--torch_compile --dynamo_backend inductor"),
    ]
