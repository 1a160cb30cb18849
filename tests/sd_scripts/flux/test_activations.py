# SPDX-License-Identifier: Apache-2.0
"""The bytes estimated for a block are exactly the bytes that autograd saves for a real one."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from library.family.sizes import BatchShape
from library.flux import activations
from library.flux.config import FluxConfig
from library.flux.model import Flux
from library.lora.lora import LoRANetwork
from tests.sd_scripts.memory.memory_tracker import layer_norm_of_a_gpu, saved_by_autograd, storage_bytes

__all__ = ["layer_norm_of_a_gpu"]

SHAPES = [
    # hidden, MLP, head, rank, text tokens, picture tokens, batch
    pytest.param((256, 1024, 128, 4, 64, 192, 1), id="as FLUX.1's, smaller"),
    pytest.param((128, 320, 32, 3, 16, 80, 2), id="two pictures, another MLP"),
]


@pytest.mark.usefixtures("layer_norm_of_a_gpu")
@pytest.mark.parametrize("autocast", [True, False])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("kind", ["double", "single"])
def test_a_block_keeps_as_many_bytes_as_are_counted(kind: str, shape: tuple[int, ...], autocast: bool) -> None:
    hidden, mlp, head, rank, text, picture, batch = shape
    model = FluxConfig(
        packed_channels=64,
        vector_width=8,
        text_width=8,
        hidden=hidden,
        mlp_hidden=mlp,
        head_width=head,
        double_blocks=1,
        single_blocks=1,
        guidance=True,
    )
    dtype = torch.bfloat16 if autocast else torch.float32
    flux = Flux(model).to(dtype).requires_grad_(False)
    network = LoRANetwork(transformer=flux, clip=None, rank=rank, alpha=1, seed=0)

    def stream(tokens: int) -> Tensor:
        return torch.randn(batch, tokens, hidden, dtype=dtype, requires_grad=True)

    tokens = text + picture
    vector = torch.randn(batch, hidden, dtype=dtype, requires_grad=True)
    # All blocks share these, so they are not counted for this one.
    shared = [vector, torch.randn(tokens, head // 2), torch.randn(tokens, head // 2)]
    block = flux.double_blocks[0] if kind == "double" else flux.single_blocks[0]
    streams = [stream(picture), stream(text)] if kind == "double" else [stream(tokens)]
    with saved_by_autograd() as saved, torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        block(*streams, *shared)
    of_block = activations.double if kind == "double" else activations.single
    counted = of_block(model, BatchShape(size=batch, tokens=tokens), rank=rank, autocast=autocast)
    weights = [*flux.parameters(), *network.parameters()]
    assert counted == storage_bytes(saved, without=[*weights, *shared])


def test_a_lora_keeps_as_many_numbers_per_rank_as_are_counted() -> None:
    model = FluxConfig(
        packed_channels=64,
        vector_width=8,
        text_width=8,
        hidden=32,
        mlp_hidden=96,
        head_width=16,
        double_blocks=2,
        single_blocks=3,
        guidance=True,
    )
    network = LoRANetwork(transformer=Flux(model), clip=None, rank=5, alpha=1, seed=0)
    counted = 2 * activations.double_numbers(model) + 3 * activations.single_numbers(model)
    assert 5 * counted == sum(parameter.numel() for parameter in network.parameters())
