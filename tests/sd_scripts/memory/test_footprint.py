# SPDX-License-Identifier: Apache-2.0
"""The memory estimated for a training is what a step of full-size FLUX.1 dev needs, counted tensor by tensor."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from diffusers import AutoencoderKL
from torch._subclasses.fake_tensor import FakeTensorMode

from library.compute import block_swap, fp8
from library.flux.base_model import DECODING, ENCODING
from library.flux.config import FluxConfig
from library.flux.model import Flux
from library.lora.lora import LoRANetwork
from library.memory import footprint
from library.memory.footprint import Tier
from tests.sd_scripts.full_size import DEV, TEXT_TOKENS, inputs_of, load_random, training
from tests.sd_scripts.memory.memory_tracker import LiveBytes, layer_norm_of_a_gpu, storage_bytes

__all__ = ["layer_norm_of_a_gpu"]

# The LoRA and its gradient, without an optimizer, whose step needs no more memory than the backward pass.
WITHOUT_MOMENTS = 2


def peak_of_a_step(tier: Tier, *, pixels: int, batch: int, rank: int, micro_steps: int) -> int:
    """The peak bytes of all tensors of FLUX.1 dev and its LoRA, over micro-steps whose gradients add up."""
    with torch.device("meta"):
        flux = Flux(DEV).bfloat16()
        if tier.base == "fp8":
            fp8.convert(flux)
    flux.requires_grad_(False).checkpointed_blocks = tier.checkpointed_blocks
    with FakeTensorMode(allow_non_fake_inputs=True):
        flux.to_empty(device="cpu")
        network = LoRANetwork(transformer=flux, clip=None, rank=rank, alpha=1, seed=0)
        picture = (pixels // 16) ** 2
        given = (
            torch.empty(batch, picture, DEV.packed_channels),
            torch.empty(picture, 3),
            torch.empty(batch, TEXT_TOKENS, DEV.text_width),
            torch.empty(batch, DEV.vector_width),
            torch.empty(batch),
            torch.empty(batch),
        )
        with LiveBytes() as live:
            live.know(*flux.parameters(), *flux.buffers(), *network.parameters())
            for _ in range(micro_steps):
                with torch.autocast("cpu", torch.bfloat16):
                    velocity = flux(*given)
                velocity.float().square().mean().backward()
        return live.peak


@pytest.mark.usefixtures("layer_norm_of_a_gpu")
@pytest.mark.parametrize(
    ("tier", "pixels", "batch", "rank", "micro_steps"),
    [
        pytest.param(Tier(), 1024, 1, 16, 1, id="all activations kept"),
        # With a small LoRA, nothing but a block's working memory is between the two.
        pytest.param(Tier(checkpointed_blocks=28), 1024, 4, 1, 1, id="half of the blocks checkpointed"),
        pytest.param(Tier(checkpointed_blocks=57), 1024, 4, 4, 1, id="four pictures, all blocks checkpointed"),
        # The first micro-step's gradients exist beside autocast's copies of the LoRA in the second.
        pytest.param(Tier(checkpointed_blocks=56), 512, 4, 128, 2, id="rank 128, all but one checkpointed"),
        pytest.param(Tier(base="fp8", checkpointed_blocks=57), 512, 1, 16, 1, id="fp8 base, 512 px"),
    ],
)
def test_a_step_of_the_full_size_model_stays_just_under_the_estimate(
    tier: Tier, pixels: int, batch: int, rank: int, micro_steps: int
) -> None:
    run = training(pixels=pixels, batch=batch, rank=rank, copies=WITHOUT_MOMENTS)
    estimated = footprint.of(run, tier).total - footprint.RESERVE
    needed = peak_of_a_step(tier, pixels=pixels, batch=batch, rank=rank, micro_steps=micro_steps)
    assert needed < estimated < 1.05 * needed


AUTOENCODER = {
    "latent_channels": 16,
    "block_out_channels": (128, 256, 512, 512),
    "layers_per_block": 2,
    "down_block_types": ("DownEncoderBlock2D",) * 4,
    "up_block_types": ("UpDecoderBlock2D",) * 4,
    "use_quant_conv": False,
    "use_post_quant_conv": False,
}
"""The config of FLUX.1's autoencoder."""


@pytest.mark.parametrize(
    ("work", "shape", "estimated"),
    [
        pytest.param("encode", (1, 3, 1024, 768), ENCODING, id="encoding"),
        pytest.param("decode", (1, 16, 128, 96), DECODING, id="decoding"),
    ],
)
def test_the_full_size_autoencoder_stays_just_under_the_estimate(
    work: str, shape: tuple[int, ...], estimated: int
) -> None:
    with torch.device("meta"):
        autoencoder = AutoencoderKL(**AUTOENCODER)
    with FakeTensorMode(allow_non_fake_inputs=True):
        autoencoder.to_empty(device="cpu")
        given = torch.empty(shape)
        with LiveBytes() as live, torch.no_grad():
            getattr(autoencoder, work)(given)
    per_pixel = live.peak / (1024 * 768)
    assert per_pixel < estimated < 1.05 * per_pixel


SMALL = FluxConfig(
    packed_channels=64,
    vector_width=32,
    text_width=64,
    hidden=128,
    mlp_hidden=512,
    head_width=32,
    double_blocks=6,
    single_blocks=8,
    guidance=True,
)


@pytest.mark.parametrize(
    "tier",
    [
        pytest.param(Tier(), id="unquantised base"),
        pytest.param(Tier(base="fp8"), id="fp8 base"),
        pytest.param(Tier(checkpointed_blocks=14, blocks_to_swap=3), id="unquantised base, swapped"),
        pytest.param(Tier(base="fp8", checkpointed_blocks=14, blocks_to_swap=5), id="fp8 base, swapped"),
    ],
)
def test_the_weights_on_the_device_take_as_many_bytes_as_are_counted(tier: Tier, tmp_path: Path) -> None:
    """Counted for a real transformer after loading it and computing forward and backward."""
    flux = load_random(SMALL, tier, device=torch.device("cpu"), folder=tmp_path)
    frozen = [*flux.parameters(), *flux.buffers()]
    network = LoRANetwork(transformer=flux, clip=None, rank=2, alpha=1, seed=0)
    with torch.autocast("cpu", torch.bfloat16):
        velocity = flux(*inputs_of(SMALL, pixels=64, batch=1, device=torch.device("cpu")))
    velocity.float().square().mean().backward()
    assert all(parameter.grad is not None for parameter in network.parameters())
    counted = footprint.of(training(model=SMALL), tier).weights
    there = storage_bytes(frozen, without=[])
    # In a slot each tensor begins at a multiple of ALIGNMENT.
    slack = len(frozen) * block_swap.ALIGNMENT if tier.blocks_to_swap else 0
    assert counted <= there <= counted + slack
