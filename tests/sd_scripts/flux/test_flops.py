# SPDX-License-Identifier: Apache-2.0
"""FLOPs of a step against PyTorch's own count."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from library.flux import flops
from library.flux.model import Flux, image_ids
from library.lora.lora import LoRANetwork
from library.options.network_settings import NetworkSettings, read
from tests.sd_scripts.full_size import DEV


def flux(
    *, hidden: int, double: int, single: int, settings: NetworkSettings | None = None
) -> tuple[Flux, LoRANetwork]:
    """Random weights, or none under a mode of fake tensors."""
    config = dataclasses.replace(
        DEV, hidden=hidden, mlp_hidden=4 * hidden, double_blocks=double, single_blocks=single
    )
    transformer = Flux(config).requires_grad_(False)
    return transformer, LoRANetwork(transformer=transformer, clip=None, rank=16, alpha=1, seed=1, settings=settings)


def known(transformer: Flux, network: LoRANetwork) -> tuple[dict[str, tuple[int, ...]], dict[str, int]]:
    shapes = {key: tuple(tensor.shape) for key, tensor in transformer.state_dict().items()}
    return shapes, {name: part.down.shape[0] for name, part in network.parts()}


def counted(transformer: Flux, *, image: tuple[int, int], text: int) -> tuple[int, int]:
    """FLOPs of the forward and backward pass as PyTorch counts them, with plain attention, which it can count."""
    with sdpa_kernel(SDPBackend.MATH):
        with FlopCounterMode(display=False) as forward:
            output = transformer(
                torch.ones(1, image[0] * image[1], 64),
                image_ids(2 * image[0], 2 * image[1], torch.device("cpu")),
                torch.ones(1, text, 4096),
                torch.ones(1, 768),
                torch.ones(1),
                torch.ones(1),
            )
        with FlopCounterMode(display=False) as backward:
            output.square().mean().backward()
    return forward.get_total_flops(), backward.get_total_flops()


@pytest.mark.parametrize(("hidden", "double", "single"), [(256, 2, 3), (3072, 1, 1)])
def test_flops_are_those_that_pytorch_counts(hidden: int, double: int, single: int) -> None:
    with FakeTensorMode(allow_non_fake_inputs=True):
        transformer, network = flux(hidden=hidden, double=double, single=single)
        forward, backward = counted(transformer, image=(8, 12), text=64)
    found = flops.flops(*known(transformer, network), image_tokens=8 * 12, text_tokens=64)
    assert (found.forward, found.backward) == (forward, backward)


@pytest.mark.parametrize("words", ["train_blocks=single", "train_double_block_indices=1"])
def test_the_gradient_goes_back_to_the_first_block_that_is_trained(words: str) -> None:
    name, _, value = words.partition("=")
    transformer, network = flux(hidden=256, double=2, single=2, settings=read([(name, value)]))
    forward, backward = counted(transformer, image=(8, 8), text=32)
    found = flops.flops(*known(transformer, network), image_tokens=64, text_tokens=32)
    assert found.forward == forward
    assert found.backward == pytest.approx(backward, rel=0.01)


def test_flops_of_flux_dev_are_those_of_the_literature() -> None:
    """The blocks alone take 21.6, 42.1 and 74.7 TFLOP of the forward pass at rank 16."""
    with torch.device("meta"):
        transformer = Flux(DEV).requires_grad_(False)
    network = LoRANetwork(transformer=transformer, clip=None, rank=16, alpha=1, seed=1).to("meta")
    found = [
        flops.flops(*known(transformer, network), image_tokens=(side // 16) ** 2, text_tokens=512)
        for side in (512, 768, 1024)
    ]
    assert [round(one.forward / 1e12, 1) for one in found] == [21.6, 42.2, 74.8]
    assert found[0].counted == found[0].forward + found[0].backward
