# SPDX-License-Identifier: Apache-2.0
"""What bench/trainer_gpu.py runs, the most telling rows first. Pure: no torch, nothing is started.

A row is one training in a separate process: the trainer, the size of the pictures, and flags of the trainer's command
line. Both trainers get the flags of COMMON, and a row adds its own.
"""

from __future__ import annotations

from dataclasses import dataclass

OURS, THEIRS, CEILINGS = "ours", "sd-scripts", "ceilings"
BATCH, RANK = 1, 16
WARM_UP_STEPS = 3
# LIMIT: seconds that a row may take, including its start. NEED: seconds that must be left for it to begin.
EAGER_LIMIT, EAGER_NEED = 60, 14
COMPILED_LIMIT, COMPILED_NEED = 150, 35
PIXELS_PER_TOKEN = 16 * 16

# FluxGym's own flags except those in `USUAL`, and except the optimizer, which needs bitsandbytes there.
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
    """A Flux and its pictures. `pixels`: the sides that take the place of 512, 768 and 1024. `blocks_to_swap`: in
    sd-scripts' counting."""

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
        """Tokens of a picture of this side (pixels) and of its text."""
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
    """One training. `name`, `whose` and `pixels` together are unique. `pixels`: an index into Size.pixels.
    `checkpointed`: a share of the blocks, for which there is no flag; None if the flags decide. `compiled`: the
    trainer compiles, which takes time. `needs_gpu`: it cannot run on a CPU."""

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


# The names of the rows that the goals are about.
BEST = "compiled, all activations kept"
SAME_FLAGS = "FluxGym's usual flags"
FLASH = "compiled, flash attention"
NO_CHECKPOINTING = "eager, all activations kept"
WHOLE_COMPILED = "--torch_compile, all activations kept"
LOW, MIDDLE, HIGH = range(3)


def rows(size: Size, *, compiled: str, eager: str) -> list[Row]:
    """All rows. `compiled` and `eager`: the flags with which our trainer compiles its blocks, and does not."""
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
        # In case the card's fastest kernel does not work with the compiler.
        ours(FLASH, HIGH, f"{compiled} --attention flash"),
        # The effect of each part. The rows that take the least time come first.
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
