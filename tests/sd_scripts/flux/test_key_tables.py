# SPDX-License-Identifier: Apache-2.0
"""The keys that a model's file must have are known without torch, and are those of the models as they are built."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from library.errors import TrainerError
from library.flux import autoencoder_config, encoder_config, model_files
from library.flux import config as flux_config
from library.flux.autoencoder import diffusers_key
from library.flux.config import FluxConfig
from library.flux.model import Flux
from library.options.arguments import parse
from tests.sd_scripts.full_size import DEV
from tests.sd_scripts.running import Models, Settings

CLIP_L: dict[str, Any] = {
    "vocab_size": 49408,
    "hidden_size": 768,
    "intermediate_size": 3072,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "max_position_embeddings": 77,
}
T5_XXL: dict[str, Any] = {
    "vocab_size": 32128,
    "d_model": 4096,
    "d_kv": 64,
    "d_ff": 10240,
    "num_layers": 24,
    "num_heads": 64,
    "relative_attention_num_buckets": 32,
    "feed_forward_proj": "gated-gelu",
}
AUTOENCODER: dict[str, Any] = {
    "in_channels": 3,
    "out_channels": 3,
    "latent_channels": 16,
    "block_out_channels": (128, 256, 512, 512),
    "layers_per_block": 2,
    "down_block_types": ("DownEncoderBlock2D",) * 4,
    "up_block_types": ("UpDecoderBlock2D",) * 4,
    "norm_num_groups": 32,
    "use_quant_conv": False,
    "use_post_quant_conv": False,
}


def shapes_of(model: torch.nn.Module) -> dict[str, tuple[int, ...]]:
    return {key: tuple(tensor.shape) for key, tensor in model.state_dict().items()}


@pytest.mark.parametrize("guidance", [True, False])
def test_the_key_table_of_the_transformer_is_complete(guidance: bool) -> None:
    config = FluxConfig(**{**vars(DEV), "guidance": guidance})
    with torch.device("meta"):
        assert flux_config.shapes(config) == shapes_of(Flux(config))


def test_the_key_table_of_clip_is_complete() -> None:
    from transformers import CLIPTextConfig, CLIPTextModel

    with torch.device("meta"):
        model = CLIPTextModel(CLIPTextConfig(**CLIP_L))
    built = {f"text_model.{key}": shape for key, shape in shapes_of(model).items()}
    assert encoder_config.clip_keys(CLIP_L) == built


def test_the_key_table_of_t5_is_complete() -> None:
    from transformers import T5Config, T5EncoderModel

    with torch.device("meta"):
        built = shapes_of(T5EncoderModel(T5Config(**T5_XXL)))
    del built[encoder_config.T5_COPY]
    assert encoder_config.t5_keys(T5_XXL) == built


def test_the_key_table_of_the_autoencoder_is_complete() -> None:
    from diffusers import AutoencoderKL

    with torch.device("meta"):
        built = shapes_of(AutoencoderKL(**AUTOENCODER))
    table = autoencoder_config.keys(AUTOENCODER)
    # diffusers keeps the attention's 1x1 convolutions as matrices.
    named = {diffusers_key(key, 4): shape for key, shape in table.items()}
    assert {key: shape[:2] if "attentions" in key else shape for key, shape in named.items()} == built


@pytest.mark.parametrize(
    ("flag", "name", "key"),
    [
        ("clip_l", "clip_l", "text_model.encoder.layers.1.mlp.fc2.bias"),
        ("t5xxl", "t5xxl_fp16", "encoder.block.1.layer.1.DenseReluDense.wo.weight"),
        ("ae", "ae", "decoder.up.3.block.1.conv2.bias"),
    ],
)
def test_a_part_missing_from_the_middle_of_a_file_is_named(
    flag: str, name: str, key: str, models: Models, settings: Settings, tmp_path: Path
) -> None:
    tensors = load_file(models.folder / f"{name}.safetensors")
    del tensors[key]
    save_file(tensors, tmp_path / "cut.safetensors")
    options = parse(settings.plus(f"--{flag} {tmp_path}/cut.safetensors").arguments())
    with pytest.raises(TrainerError) as caught:
        model_files.read(options)
    file = f"{tmp_path}/cut.safetensors"
    assert str(caught.value) == f"--{flag}: {file} is damaged or a different model: it lacks {key}"
