# SPDX-License-Identifier: Apache-2.0
"""Our Flux against diffusers' FluxTransformer2DModel on the same weights."""

from __future__ import annotations

import functools
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks

from library.files.safetensors_file import load
from library.files.safetensors_header import read_shapes
from library.flux import loading
from library.flux.config import read_config
from library.flux.model import Flux, pack, unpack
from tests.sd_scripts.flux.oracle import ask_oracle, build_oracle, inputs
from tests.sd_scripts.full_size import DEV
from tests.sd_scripts.running import make_models


@pytest.mark.parametrize("variant", [(), ("--schnell",)])
@torch.no_grad()
def test_outputs_are_those_of_diffusers(variant: tuple[str, ...], tmp_path: Path) -> None:
    path = make_models(tmp_path, *variant).folder / "flux1-dev.safetensors"
    config = read_config(read_shapes(path, ""))
    assert config.guidance == (not variant)
    ours = loading.load_transformer(path, config, dtype=torch.float32, device=torch.device("cpu"))
    given = inputs(config)
    expected = ask_oracle(build_oracle(load(path), config), config, given)
    assert expected.std() > 0.1
    assert (ours(*given) - expected).abs().max() < 1e-5


@pytest.mark.parametrize("checkpointed", [1, 2, 3, 4])
def test_checkpointing_changes_no_gradient(checkpointed: int, tmp_path: Path) -> None:
    """Of 2 + 2 blocks, only the first `checkpointed` ones are computed twice."""
    path = make_models(tmp_path).folder / "flux1-dev.safetensors"
    config = read_config(read_shapes(path, ""))
    gradients, passes = [], []
    for count in (0, checkpointed):
        flux = loading.load_transformer(path, config, dtype=torch.float32, device=torch.device("cpu"))
        flux.checkpointed_blocks = count
        flux.requires_grad_(True)
        times = [0, 0, 0, 0]
        for index, block in enumerate([*flux.double_blocks, *flux.single_blocks]):
            block.register_forward_pre_hook(functools.partial(count_pass, times, index))
        flux(*inputs(config)).square().mean().backward()
        gradients.append([parameter.grad for parameter in flux.parameters()])
        passes.append(times)
    assert all(torch.equal(one, other) for one, other in zip(*gradients, strict=True))
    assert passes == [[1, 1, 1, 1], [2] * checkpointed + [1] * (4 - checkpointed)]


@pytest.mark.parametrize("checkpointed", [0, 3, 4])
def test_only_inputs_of_checkpointed_blocks_wait_on_the_host(
    checkpointed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A double block has 5 inputs, a single one 4. The tensors kept on the host are copies, as from a GPU."""
    kept: list[int] = []

    class OnHost(saved_tensors_hooks):
        def __init__(self, *, pin_memory: bool) -> None:
            assert not pin_memory
            super().__init__(self.pack, lambda tensor: tensor.clone())

        def pack(self, tensor: Tensor) -> Tensor:
            kept.extend([tensor.nbytes] if tensor.nbytes else [])  # torch 2.11 also keeps an empty one for each block
            return tensor.clone()

    monkeypatch.setattr("library.compute.transformer.save_on_cpu", OnHost)
    path = make_models(tmp_path).folder / "flux1-dev.safetensors"
    config = read_config(read_shapes(path, ""))
    gradients = []
    for on_host in (False, True):
        flux = loading.load_transformer(path, config, dtype=torch.float32, device=torch.device("cpu"))
        flux.checkpointed_blocks, flux.inputs_on_host = checkpointed, on_host
        flux.requires_grad_(True)
        flux(*inputs(config)).square().mean().backward()
        gradients.append([parameter.grad for parameter in flux.parameters()])
    assert all(torch.equal(one, other) for one, other in zip(*gradients, strict=True))
    assert len(kept) == sum([5, 5, 4, 4][:checkpointed])


def count_pass(times: list[int], index: int, *_: object) -> None:
    times[index] += 1


def test_the_config_of_flux1_dev_is_read_from_its_shapes() -> None:
    with torch.device("meta"):
        flux = Flux(DEV)
    assert read_config({key: tuple(value.shape) for key, value in flux.state_dict().items()}) == DEV
    assert sum(parameter.numel() for parameter in flux.parameters()) == 11_901_408_320
    assert DEV.rope_widths == (16, 56, 56)


def test_pack_and_unpack_are_inverse() -> None:
    latents = torch.randn(2, 16, 6, 10)
    assert torch.equal(unpack(pack(latents), 6, 10), latents)
    # A token is the 2x2 square at one place: channels first, then rows, then columns.
    assert torch.equal(pack(latents)[0, 1], latents[0, :, 0:2, 2:4].flatten())
