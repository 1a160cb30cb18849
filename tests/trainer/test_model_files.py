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


# What published files have beside the model, which sd-scripts leaves out: other models without a prefix, the marks of
# other programs, a whole CLIP, a whole T5, an autoencoder that was saved in the middle of its training.
OTHERS = {
    "flux1-dev": ("__index_timestep_zero__", "vae.decoder.conv_in.weight", "distilled_guidance_layer.in_proj.weight"),
    "clip_l": ("logit_scale", "vision_model.encoder.layers.0.mlp.fc1.weight", "text_model.embeddings.position_ids"),
    "t5xxl_fp16": ("lm_head.weight", "decoder.block.0.layer.0.SelfAttention.q.weight", "spiece_model"),
    "ae": ("loss.logvar", "loss.discriminator.main.0.weight"),
}


def test_what_a_file_has_beside_its_model_is_left_out(
    settings: Settings, models: Models, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(settings.plus("--max_train_epochs 1 --seed 3", output="alone")).error is None
    assert "are not used" not in capsys.readouterr().err
    flags = ("pretrained_model_name_or_path", "clip_l", "t5xxl", "ae")
    (tmp_path / "tokenizers").symlink_to(models.folder / "tokenizers")
    words = "--max_train_epochs 1 --seed 3"
    for flag, (name, others) in zip(flags, OTHERS.items(), strict=True):
        path = tmp_path / f"{name}.safetensors"
        save_file(load(models.folder / path.name) | {key: torch.ones(10) for key in others}, path)
        words += f" --{flag} {path}"
    assert run(settings.plus(words, output="beside")).error is None
    assert "flux1-dev.safetensors has 3 keys that are none of Flux's, which are not used, as __" in (
        capsys.readouterr().err
    )
    alone, beside = (load(tmp_path / output / "lora.safetensors") for output in ("alone", "beside"))
    assert alone.keys() == beside.keys()
    # Not to the last bit: numbers that lie elsewhere in a file are added up in another order.
    assert all((alone[key] - beside[key]).norm() <= 1e-3 * alone[key].norm() for key in alone)


def test_what_a_file_has_beside_its_model_takes_no_room(models: Models, tmp_path: Path) -> None:
    config = read_config(read_shapes(models.folder / "flux1-dev.safetensors", ""))
    for name, read in (
        ("clip_l", text_encoders.clip_shapes),
        ("t5xxl_fp16", text_encoders.t5_shapes),
        ("flux1-dev", lambda path: loading.shapes_of(path, config)),
    ):
        alone, beside = models.folder / f"{name}.safetensors", tmp_path / f"{name}.safetensors"
        others = (key for key in OTHERS[name] if not key.endswith("position_ids"))  # bytes that do not count
        save_file(load(alone) | {key: torch.ones(10) for key in others}, beside)
        assert read(beside) == read(alone)


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
