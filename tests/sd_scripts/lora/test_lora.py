# SPDX-License-Identifier: Apache-2.0
"""The LoRA's keys and effect, compared with a recorded file of sd-scripts and with diffusers' kohya converter."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import CLIPTextConfig, CLIPTextModel

import convert_lora
from library.errors import TrainerError
from library.files.safetensors_file import load
from library.files.safetensors_header import read_shapes
from library.flux import loading
from library.flux.config import read_config
from library.flux.model import Flux
from library.lora.lora import LayerSize, LoRANetwork, sizes_in
from library.options import network_settings
from tests.sd_scripts.flux.oracle import ask_oracle, build_oracle, inputs
from tests.sd_scripts.lora.models import full_width, tiny_transformer
from tests.sd_scripts.recorded import recorded
from tests.sd_scripts.running import Settings, make_models, make_pictures, train

HEADER = recorded("lora-header")
FULL_WIDTH = ("--hidden", "3072", "--heads", "24", "--double-blocks", "1", "--single-blocks", "1")
FULL_WIDTH_TEXT = ("--text-width", "4096", "--vector-width", "768", "--dtype", "bfloat16")


def test_keys_and_shapes_are_those_of_a_file_by_sd_scripts() -> None:
    with torch.device("meta"):
        flux = Flux(full_width(1, 1))
        clip = CLIPTextModel(CLIPTextConfig(hidden_size=768, intermediate_size=3072, num_hidden_layers=12))
    network = LoRANetwork(transformer=flux, clip=clip, rank=4, alpha=1, seed=0)
    ours = {key: list(value.shape) for key, value in network.kohya_tensors(torch.bfloat16).items()}
    golden = {key: value["shape"] for key, value in HEADER.items() if key != "__metadata__"}
    assert len(golden) == 255
    assert ours == golden


@pytest.mark.parametrize(("train_blocks", "modules"), [("all", 304), ("double", 190), ("single", 114)])
def test_flux1_dev_has_304_modules(train_blocks: str, modules: int) -> None:
    with torch.device("meta"):
        flux = Flux(full_width(19, 38))
    settings = network_settings.read([("train_blocks", train_blocks)])
    network = LoRANetwork(transformer=flux, clip=None, rank=1, alpha=1, seed=0, settings=settings)
    assert len(list(network.parts())) == modules


def test_an_alpha_that_bf16_cannot_hold_stays_exact() -> None:
    network = LoRANetwork(transformer=tiny_transformer(), clip=None, rank=2, alpha=1.1, seed=0)
    (alpha,) = (value for key, value in network.kohya_tensors(torch.bfloat16).items() if key.endswith("alpha"))
    assert alpha.dtype == torch.float32
    assert alpha == torch.tensor(1.1)


NAME = "lora_unet_single_blocks_0_0"


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"alpha": torch.zeros(2)}, f"{NAME}.alpha has 2 numbers instead of 1"),
        ({"lora_down.weight": torch.zeros(4)}, "has shape (4,) instead of (2, 4)"),
        ({"lora_up.weight": None}, f"it lacks {NAME}.lora_up.weight"),
    ],
)
def test_a_file_that_is_not_a_lora_is_refused(change: dict[str, torch.Tensor | None], sentence: str) -> None:
    network = LoRANetwork(transformer=tiny_transformer(), clip=None, rank=2, alpha=1, seed=0)
    changed = network.kohya_tensors() | {f"{NAME}.{key}": value for key, value in change.items()}
    tensors = {key: value for key, value in changed.items() if value is not None}
    with pytest.raises(TrainerError) as refused:
        network.begin_with(tensors, "--network_weights: x")
    assert sentence in str(refused.value)


@pytest.mark.parametrize(
    "change",
    [
        {"alpha": torch.zeros(2)},
        {"lora_down.weight": torch.zeros(0, 4)},
        {"lora_down.weight": torch.zeros(4)},
        {"lora_down.weight": torch.zeros(())},
    ],
)
def test_a_lora_without_ranks_gives_none(change: dict[str, torch.Tensor]) -> None:
    network = LoRANetwork(transformer=tiny_transformer(), clip=None, rank=2, alpha=1, seed=0)
    assert sizes_in(network.kohya_tensors()) == {NAME: LayerSize(rank=2, alpha=1)}
    with pytest.raises(TrainerError, match=f"--dim_from_weights: {NAME} in --network_weights is damaged"):
        sizes_in(network.kohya_tensors() | {f"{NAME}.{key}": value for key, value in change.items()})


@torch.no_grad()
def test_a_trained_lora_has_its_effect_in_diffusers(tmp_path: Path) -> None:
    """The program trains it at full width. diffusers' own kohya converter reads it, and so does diffusers' loader
    alone after our conversion."""
    from diffusers import FluxPipeline

    models = make_models(tmp_path / "models", *FULL_WIDTH, *FULL_WIDTH_TEXT)
    settings = Settings(models=models, folder=tmp_path, pictures=make_pictures(tmp_path / "pictures", 1))
    short = "--max_train_steps 2 --max_train_epochs 1 --network_train_unet_only --network_alpha 1"
    outcome = train(settings.plus(short))

    path = models.folder / "flux1-dev.safetensors"
    config = read_config(read_shapes(path, ""))
    tensors = {key: value.float() for key, value in load(path).items()}
    oracle = build_oracle(tensors, config)
    given = inputs(config)
    without = ask_oracle(oracle, config, given)
    lora, alphas = FluxPipeline.lora_state_dict(str(outcome.lora), return_alphas=True)
    FluxPipeline.load_lora_into_transformer(lora, network_alphas=alphas, transformer=oracle)
    expected = ask_oracle(oracle, config, given)
    assert convert_lora.main(["to-diffusers", str(outcome.lora), str(tmp_path / "converted.safetensors")]) == 0
    oracle.unload_lora()
    oracle.load_lora_adapter(str(tmp_path), weight_name="converted.safetensors")
    converted = ask_oracle(oracle, config, given)
    del oracle

    ours = loading.load_transformer(path, config, dtype=torch.float32, device=torch.device("cpu"))
    network = LoRANetwork(transformer=ours, clip=None, rank=2, alpha=1, seed=0)
    network.load_kohya(load(outcome.lora), "the trained LoRA")
    effect = (expected - without).abs().mean()
    assert effect > 1e-3
    answer = ours(*given)
    assert (answer - expected).abs().max() < 1e-2 * effect
    assert (answer - converted).abs().max() < 1e-2 * effect
