# SPDX-License-Identifier: Apache-2.0
"""What both trainers are given on the disk: a model whose numbers are a hole, and pictures whose caches are random.

The hole takes no space and is never read: `weights` draws the numbers that would be in it. The encoders and the
autoencoder are tiny but have the right widths, for the preflight; everything that they would encode is cached.
"""

from __future__ import annotations

import json
import math
import os
import struct
import subprocess
import sys
from pathlib import Path

import numpy
import torch
from PIL import Image
from rows import COMMON, OURS, RANK, Row, Size

from library.flux import flops
from library.flux.config import FluxConfig
from library.flux.model import Flux

ROOT = Path(__file__).resolve().parent.parent.parent
LATENT_CHANNELS, PIXELS_PER_LATENT = 16, 8
BYTES = 2  # per number in bf16


def config_of(size: Size) -> FluxConfig:
    return FluxConfig(
        packed_channels=4 * LATENT_CHANNELS,
        vector_width=size.vector_width,
        text_width=size.text_width,
        hidden=size.hidden,
        mlp_hidden=4 * size.hidden,
        head_width=size.head_width,
        double_blocks=size.double_blocks,
        single_blocks=size.single_blocks,
        guidance=True,
    )


def shapes_of(config: FluxConfig) -> dict[str, tuple[int, ...]]:
    with torch.device("meta"):
        return {name: tuple(tensor.shape) for name, tensor in Flux(config).state_dict().items()}


def flops_of_step(size: Size, side: int) -> int:
    """Operations of a step on one picture of this side (pixels), with a LoRA on each matrix of the blocks. They are
    the same for both trainers."""
    shapes = shapes_of(config_of(size))
    ranks = {
        "lora_unet_" + key.removesuffix(".weight").replace(".", "_"): RANK
        for key, shape in shapes.items()
        if "_blocks." in key and len(shape) == 2
    }
    text = size.text_tokens
    return flops.flops(shapes, ranks, image_tokens=size.tokens(side) - text, text_tokens=text).counted


def upstream_params(size: Size) -> dict[str, object]:
    """The same configuration as the arguments of sd-scripts' FluxParams."""
    config = config_of(size)
    return {
        "in_channels": config.packed_channels,
        "vec_in_dim": config.vector_width,
        "context_in_dim": config.text_width,
        "hidden_size": config.hidden,
        "mlp_ratio": 4.0,
        "num_heads": config.heads,
        "depth": config.double_blocks,
        "depth_single_blocks": config.single_blocks,
        "axes_dim": list(config.rope_widths),
        "theta": 10_000,
        "qkv_bias": True,
        "guidance_embed": True,
    }


def make(folder: Path, size: Size, *, pictures: int) -> None:
    """Makes the model and the pictures of one size, with a folder for each side of pictures."""
    model = folder / "model"
    tiny = [sys.executable, ROOT / "sd-scripts" / "make_tiny_flux.py", model, "--clip-layers", "1"]
    widths = ["--text-width", str(size.text_width), "--vector-width", str(size.vector_width)]
    subprocess.run([*tiny, *widths], check=True, stdout=subprocess.DEVNULL, timeout=900)
    _make_hole(model / "flux1-dev.safetensors", config_of(size))
    for side in size.pixels:
        _make_pictures(folder / str(side), side, size, count=pictures)


def _make_hole(path: Path, config: FluxConfig) -> None:
    """Writes a safetensors file (an 8-byte length, a JSON header, the numbers) with a hole for the numbers."""
    header: dict[str, object] = {}
    end = 0
    for name, shape in shapes_of(config).items():
        begin, end = end, end + math.prod(shape) * BYTES
        header[name] = {"dtype": "BF16", "shape": list(shape), "data_offsets": [begin, end]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        file.truncate(8 + len(text) + end)


def _make_pictures(folder: Path, side: int, size: Size, *, count: int) -> None:
    folder.mkdir()
    generator = torch.Generator().manual_seed(side)
    for index in range(count):
        stem = folder / f"{index:02d}"
        Image.new("RGB", (side, side)).save(stem.with_suffix(".png"))
        stem.with_suffix(".txt").write_text("a picture\n")
        for source in (stem.with_suffix(".png"), stem.with_suffix(".txt")):
            os.utime(source, (0, 0))  # a cache without our trainer's seal is used only if it is newer
        _write_caches(stem, side, size, generator)
    (folder / "dataset.toml").write_text(
        f"[[datasets]]\nresolution = {side}\nbatch_size = 1\n[[datasets.subsets]]\n"
        f'image_dir = "{folder}"\ncaption_extension = ".txt"\n'
    )


def _write_caches(stem: Path, side: int, size: Size, generator: torch.Generator) -> None:
    def drawn(*shape: int) -> numpy.ndarray:
        return torch.randn(shape, generator=generator).numpy()

    latent = side // PIXELS_PER_LATENT
    suffix = f"_{latent}x{latent}"
    latents = {
        f"latents{suffix}": drawn(LATENT_CHANNELS, latent, latent),
        f"original_size{suffix}": numpy.array([side, side]),
        f"crop_ltrb{suffix}": numpy.array([0, 0, side, side]),
    }
    texts = {
        "l_pooled": drawn(size.vector_width),
        "t5_out": drawn(size.text_tokens, size.text_width),
        "txt_ids": numpy.zeros((size.text_tokens, 3), dtype=numpy.float32),
        "t5_attn_mask": numpy.ones(size.text_tokens, dtype=numpy.int64),
        "apply_t5_attn_mask": numpy.array(False),
    }
    numpy.savez(f"{stem}_{side:04d}x{side:04d}_flux.npz", **latents)  # type: ignore[arg-type]
    numpy.savez(f"{stem}_flux_te.npz", **texts)  # type: ignore[arg-type]


def flags_of(folder: Path, size: Size, row: Row) -> list[str]:
    """The command line of a row's training. sd-scripts gets its pictures from `upstream_dataset`."""
    model, pictures = folder / "model", folder / str(size.pixels[row.pixels])
    text = f"""
        --pretrained_model_name_or_path {model}/flux1-dev.safetensors --clip_l {model}/clip_l.safetensors
        --t5xxl {model}/t5xxl_fp16.safetensors --ae {model}/ae.safetensors
        --tokenizer_cache_dir {model}/tokenizers --t5xxl_max_token_length {size.text_tokens}
        --output_dir {folder}/out --output_name x
    """
    dataset = ["--dataset_config", f"{pictures}/dataset.toml"] if row.whose == OURS else []
    return [*text.split(), *dataset, *COMMON.split(), *row.flags.split()]
