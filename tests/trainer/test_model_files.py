# SPDX-License-Identifier: Apache-2.0
"""The usual single files of FLUX.1: alone or as a part of a pipeline, in fp16, fp8 and scaled fp8."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from library import loading, text_encoders
from library.flux_model import read_config
from library.safetensors_file import load, read_shapes
from tests.trainer.in_process import run
from tests.trainer.running import Models, Settings
from tests.trainer.test_flux_model import inputs

PREFIX = "model.diffusion_model."
FP8 = torch.float8_e4m3fn


def in_fp8(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {key: tensor.to(FP8) for key, tensor in tensors.items()}


def in_scaled_fp8(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Matrices over the whole range of fp8, with their scales, as ComfyUI's files have them."""
    made: dict[str, Tensor] = {"scaled_fp8": torch.empty(2, dtype=FP8)}
    for key, tensor in tensors.items():
        if tensor.ndim == 2 and key.endswith(".weight") and tensor.any():
            scale = tensor.float().abs().max() / 448
            made[key] = (tensor.float() / scale).to(FP8)
            made[key.removesuffix("weight") + "scale_weight"] = scale
            made[key.removesuffix("weight") + "scale_input"] = torch.ones(())
        else:
            made[key] = tensor
    return made


def as_read(tensors: dict[str, Tensor], original: dict[str, Tensor]) -> dict[str, Tensor]:
    """What the stored tensors mean, by their definition."""
    scales = {key: tensors.get(key.removesuffix("weight") + "scale_weight", torch.ones(())) for key in original}
    return {key: (tensors[key].float() * scales[key].float()) for key in original}


@pytest.mark.parametrize("prefix", ["", PREFIX])
@pytest.mark.parametrize("convert", [dict, in_fp8, in_scaled_fp8])
@torch.no_grad()
def test_a_transformer_is_what_its_file_says(prefix: str, convert: object, models: Models, tmp_path: Path) -> None:
    original = load(models.folder / "flux1-dev.safetensors")
    assert callable(convert)
    stored: dict[str, Tensor] = convert({key: tensor.half() for key, tensor in original.items()})
    path = tmp_path / "flux.safetensors"
    others = {"vae.decoder.conv_in.weight": torch.ones(2), "text_encoders.t5xxl.shared.weight": torch.ones(2)}
    save_file({f"{prefix}{key}": tensor for key, tensor in stored.items()} | (others if prefix else {}), path)

    config = read_config(read_shapes(models.folder / "flux1-dev.safetensors", ""))
    ours = loading.load_transformer(path, config, dtype=torch.bfloat16, device=torch.device("cpu"))
    meant = {key: tensor.bfloat16() for key, tensor in as_read(stored, original).items()}
    assert all(torch.equal(tensor, meant[key]) for key, tensor in ours.state_dict().items())
    assert torch.isfinite(ours(*inputs(config))).all()


@pytest.mark.parametrize("convert", [in_fp8, in_scaled_fp8])
def test_t5_in_fp8_is_what_its_file_says(convert: object, models: Models, tmp_path: Path) -> None:
    original = load(models.folder / "t5xxl_fp16.safetensors")
    assert callable(convert)
    stored: dict[str, Tensor] = convert(original)
    path = tmp_path / "t5xxl_fp8_e4m3fn.safetensors"
    save_file(stored, path)
    read = text_encoders.load_t5(path, torch.float32).state_dict()
    meant = as_read(stored, original)
    for key, tensor in meant.items():
        scaled = key.removesuffix("weight") + "scale_weight" in stored
        assert torch.equal(read[key], tensor.bfloat16().float() if scaled else tensor)


def test_a_training_with_a_prefix_and_fp8_text_encoders(settings: Settings, models: Models, tmp_path: Path) -> None:
    flux, t5 = tmp_path / "flux1-schnell.safetensors", tmp_path / "t5xxl_fp8_e4m3fn.safetensors"
    tensors = load(models.folder / "flux1-dev.safetensors")
    save_file({f"{PREFIX}{key}": tensor.half() for key, tensor in tensors.items()}, flux)
    save_file(in_fp8(load(models.folder / "t5xxl_fp16.safetensors")), t5)
    words = f"--pretrained_model_name_or_path {flux} --t5xxl {t5} --mixed_precision bf16 --max_train_epochs 1"
    assert run(settings.plus(words)).error is None
    trained = load(settings.output_dir / "lora.safetensors")
    assert all(torch.isfinite(tensor).all() for tensor in trained.values())
    assert any(tensor.any() for key, tensor in trained.items() if key.endswith("lora_up.weight"))
