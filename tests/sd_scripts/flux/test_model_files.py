# SPDX-License-Identifier: Apache-2.0
"""The usual single files of FLUX.1: alone or as part of a pipeline's file, in fp16, fp8 and scaled fp8."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from library.errors import TrainerError
from library.files.safetensors_file import load
from library.files.safetensors_header import read_shapes
from library.flux import encoder_config, loading, model_files, text_encoders
from library.flux.config import read_config
from tests.sd_scripts.flux.fp8_files import FP8, as_read, in_fp8, in_scaled_fp8
from tests.sd_scripts.flux.oracle import inputs
from tests.sd_scripts.in_process import run
from tests.sd_scripts.running import Models, Settings

PREFIX = "model.diffusion_model."


def in_newer_scaled_fp8(tensors: dict[str, Tensor], form: str = "float8_e4m3fn") -> dict[str, Tensor]:
    """The same in ComfyUI's newer layout, which its QUANTIZATION.md describes."""
    made: dict[str, Tensor] = {}
    for key, tensor in in_scaled_fp8(tensors).items():
        stem, _, name = key.rpartition(".")
        if name == "scale_weight":
            made[f"{stem}.weight_scale"] = tensor
            made[f"{stem}.comfy_quant"] = torch.frombuffer(
                bytearray(json.dumps({"format": form}).encode()), dtype=torch.uint8
            )
        elif key != "scaled_fp8":
            made[f"{stem}.input_scale" if name == "scale_input" else key] = tensor
    return made


@pytest.mark.parametrize("prefix", ["", PREFIX])
@pytest.mark.parametrize("convert", [dict, in_fp8, in_scaled_fp8, in_newer_scaled_fp8])
@torch.no_grad()
def test_a_transformer_is_built_as_its_file_says(
    prefix: str, convert: object, models: Models, tmp_path: Path
) -> None:
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


# What published files have beside the model, and sd-scripts leaves out: other models without a prefix, other
# programs' marks, a complete CLIP, a complete T5, an autoencoder that was saved during its training.
OTHERS = {
    "flux1-dev": ("__index_timestep_zero__", "vae.decoder.conv_in.weight", "distilled_guidance_layer.in_proj.weight"),
    "clip_l": ("logit_scale", "vision_model.encoder.layers.0.mlp.fc1.weight", "text_model.embeddings.position_ids"),
    "t5xxl_fp16": ("lm_head.weight", "decoder.block.0.layer.0.SelfAttention.q.weight", "spiece_model"),
    "ae": ("loss.logvar", "loss.discriminator.main.0.weight"),
}


def test_extra_content_of_a_file_is_skipped(
    settings: Settings, models: Models, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(settings.plus("--max_train_epochs 1 --seed 3", output="alone")).error is None
    assert "unrecognized" not in capsys.readouterr().err
    flags = ("pretrained_model_name_or_path", "clip_l", "t5xxl", "ae")
    (tmp_path / "tokenizers").symlink_to(models.folder / "tokenizers")
    words = "--max_train_epochs 1 --seed 3"
    for flag, (name, others) in zip(flags, OTHERS.items(), strict=True):
        path = tmp_path / f"{name}.safetensors"
        save_file(load(models.folder / path.name) | {key: torch.ones(10) for key in others}, path)
        words += f" --{flag} {path}"
    assert run(settings.plus(words, output="beside")).error is None
    assert "flux1-dev.safetensors has 3 unrecognized keys (ignored), e.g. __" in capsys.readouterr().err
    alone, beside = (load(tmp_path / output / "lora.safetensors") for output in ("alone", "beside"))
    assert alone.keys() == beside.keys()
    # Not to the last bit: where numbers lie in a file changes the order in which they are added up.
    assert all((alone[key] - beside[key]).norm() <= 1e-3 * alone[key].norm() for key in alone)


def test_extra_content_of_a_file_takes_no_memory(models: Models, tmp_path: Path) -> None:
    for name, read in (
        ("clip_l", lambda path: encoder_config.clip_shapes(read_shapes(path, ""))),
        ("t5xxl_fp16", lambda path: encoder_config.t5_shapes(read_shapes(path, ""))),
        ("flux1-dev", lambda path: model_files.read_transformer(path).shapes),
    ):
        alone, beside = models.folder / f"{name}.safetensors", tmp_path / f"{name}.safetensors"
        others = (key for key in OTHERS[name] if not key.endswith("position_ids"))  # counted, by its prefix
        save_file(load(alone) | {key: torch.ones(10) for key in others}, beside)
        assert read(beside) == read(alone)


@pytest.mark.parametrize("convert", [in_fp8, in_scaled_fp8, in_newer_scaled_fp8])
def test_t5_in_fp8_has_the_values_of_its_file(convert: object, models: Models, tmp_path: Path) -> None:
    original = load(models.folder / "t5xxl_fp16.safetensors")
    assert callable(convert)
    stored: dict[str, Tensor] = convert(original)
    path = tmp_path / "t5xxl_fp8_e4m3fn.safetensors"
    save_file(stored, path)
    config = encoder_config.t5_config(read_shapes(path, ""))
    read = text_encoders.load_t5(path, config, torch.float32).state_dict()
    meant = as_read(stored, original)
    for key, tensor in meant.items():
        stem = key.removesuffix("weight")
        scaled = f"{stem}scale_weight" in stored or f"{stem}weight_scale" in stored
        assert torch.equal(read[key], tensor.bfloat16().float() if scaled else tensor)


def test_a_training_works_with_a_key_prefix_and_fp8_text_encoders(
    settings: Settings, models: Models, tmp_path: Path
) -> None:
    flux, t5 = tmp_path / "flux1-schnell.safetensors", tmp_path / "t5xxl_fp8_e4m3fn.safetensors"
    tensors = load(models.folder / "flux1-dev.safetensors")
    save_file({f"{PREFIX}{key}": tensor.half() for key, tensor in tensors.items()}, flux)
    save_file(in_fp8(load(models.folder / "t5xxl_fp16.safetensors")), t5)
    words = f"--pretrained_model_name_or_path {flux} --t5xxl {t5} --mixed_precision bf16 --max_train_epochs 1"
    assert run(settings.plus(words)).error is None
    trained = load(settings.output_dir / "lora.safetensors")
    assert all(torch.isfinite(tensor).all() for tensor in trained.values())
    assert any(tensor.any() for key, tensor in trained.items() if key.endswith("lora_up.weight"))


def a_pickle(path: Path) -> None:
    torch.save({"img_in.weight": torch.zeros(2)}, path)


def an_old_pickle(path: Path) -> None:
    torch.save({"img_in.weight": torch.zeros(2)}, path, _use_new_zipfile_serialization=False)


def an_archive(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("flux1-dev.safetensors", "")


def a_diffusers_folder(path: Path) -> None:
    path.mkdir()
    (path / "model_index.json").write_text("{}")


def a_folder_with_several_files(path: Path) -> None:
    """A clone of FLUX.1's own repository looks like this."""
    a_diffusers_folder(path)
    for name in ("ae", "flux1-dev"):
        (path / f"{name}.safetensors").touch()


def a_folder_with_one_file(path: Path) -> None:
    path.mkdir()
    (path / "flux1-dev.safetensors").touch()


def cut_in_its_header(path: Path) -> None:
    save_file({"img_in.weight": torch.zeros(2)}, path)
    path.write_bytes(path.read_bytes()[:30])


def cut_in_its_tensors(path: Path) -> None:
    save_file({"img_in.weight": torch.zeros(2)}, path)
    path.write_bytes(path.read_bytes()[:-1])


def holding(content: bytes) -> Callable[[Path], None]:
    return lambda path: path.write_bytes(content) and None


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (holding(b""), "is empty (0 bytes); copy or download it again"),
        (holding(b"abc"), "is not a safetensors file; copy or download it again"),
        (
            holding(b"\n<!DOCTYPE html><html>Access is restricted"),
            "is a web page (HTML) that was saved in place of the model",
        ),
        (holding(b"<html><body>"), "and download it again"),
        (holding(b"Access to model FLUX.1-dev is restricted"), "is a server's reply, 'access to model"),
        (holding(b'{"error":"Invalid credentials"}'), "is a server's reply"),
        (holding(b"GGUF\3\0\0\0\1\0\0\0"), "is a GGUF file, a format for inference only; download the same"),
        (
            holding(b"version https://git-lfs.github.com/spec/v1\noid"),
            "is a Git LFS pointer to the model; run `git lfs pull`",
        ),
        (a_pickle, "is a PyTorch pickle (.ckpt, .pt, .bin), which is never read"),
        (an_old_pickle, "is a PyTorch pickle (.ckpt, .pt, .bin), which is never read"),
        (an_archive, "is a compressed archive; unpack it"),
        (a_diffusers_folder, "is a folder in diffusers' layout; give one file, such as ae.safetensors"),
        (a_folder_with_several_files, "is a folder in diffusers' layout; give the file in it: "),
        (a_folder_with_one_file, "is a folder; give the file in it: "),
        (cut_in_its_header, "is damaged: its header asks for"),
        (cut_in_its_tensors, "it has 87; copy or download it again"),
    ],
)
def test_a_file_of_another_kind_is_called_by_its_name(
    make: Callable[[Path], None], sentence: str, tmp_path: Path
) -> None:
    path = tmp_path / "flux1-dev.safetensors"
    make(path)
    with pytest.raises(TrainerError) as refused:
        read_shapes(path, "--ae")
    assert str(refused.value).startswith(f"--ae: {path} is ")
    assert sentence in str(refused.value)


def test_a_model_in_several_files_is_not_called_damaged(tmp_path: Path) -> None:
    tensors = {"a.weight": torch.zeros(2)}
    for name, sentence in (("model-00001-of-00003", "is one of 3 parts of a model"), ("model-00001-of-00001", None)):
        save_file(tensors, path := tmp_path / f"{name}.safetensors")
        if sentence is None:
            assert read_shapes(path, "--t5xxl") == {"a.weight": (2,)}
            continue
        with pytest.raises(TrainerError, match=rf"^--t5xxl: {path} {sentence}; download the model as one file$"):
            read_shapes(path, "--t5xxl")


@pytest.mark.parametrize(
    ("beside", "form"),
    [
        (
            {"a.weight": torch.zeros(2, 2, dtype=torch.uint8), "a.weight.absmax": torch.ones(1)},
            "bitsandbytes' 4 or 8",
        ),
        ({"a.weight.quant_state.bitsandbytes__nf4": torch.zeros(2)}, "bitsandbytes' nf4"),
        ({"a.qweight": torch.zeros(2, 2, dtype=torch.int32)}, "4-bit SVDQuant, AWQ or GPTQ"),
        ({"a.weight_scale_2": torch.ones(1)}, "NVFP4"),
        ({"a.weight": torch.zeros(2, 2, dtype=torch.int8)}, "integers (a.weight is I8)"),
        (
            {"a.weight": torch.zeros(4, 4, dtype=FP8), "a.weight_scale": torch.ones(2, 2)},
            "blocks (a.weight_scale is (2, 2)",
        ),
        (in_newer_scaled_fp8({"a.weight": torch.ones(2, 2)}, form="mxfp8"), "mxfp8"),
    ],
)
def test_matrices_in_other_formats_are_refused_by_name(beside: dict[str, Tensor], form: str, tmp_path: Path) -> None:
    """They are complete files of other programs, not damaged ones."""
    path = tmp_path / "flux1-dev.safetensors"
    save_file(beside, path)
    with pytest.raises(TrainerError) as refused:
        read_shapes(path, "--ae")
    assert f"--ae: {path} stores its matrices in {form}" in str(refused.value)
    assert str(refused.value).endswith("which is not supported for training; download the model in bf16, fp16 or fp8")


def test_the_note_of_comfyui_in_the_metadata_counts_too(tmp_path: Path) -> None:
    path = tmp_path / "flux1-dev.safetensors"
    tensors = {"a.weight": torch.zeros(2, 2, dtype=FP8), "a.weight_scale": torch.ones(())}
    for form, accepted in (("float8_e4m3fn", True), ("nvfp4", False)):
        note = json.dumps({"format_version": "1.0", "layers": {"a": {"format": form}}})
        save_file(tensors, path, metadata={"_quantization_metadata": note})
        if accepted:
            assert read_shapes(path, "--ae") == {"a.weight": (2, 2), "a.weight_scale": ()}
            continue
        with pytest.raises(TrainerError, match="stores its matrices in nvfp4, which"):
            read_shapes(path, "--ae")
