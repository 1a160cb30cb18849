# SPDX-License-Identifier: Apache-2.0
"""Writes a tiny FLUX.1 under the usual file names, which the demo and the tests train on a CPU without any download.

    python make_tiny_flux.py OUT [--seed N] [--hidden 128] [--double-blocks 2] [--single-blocks 2] ...

OUT gets flux1-dev.safetensors, clip_l.safetensors, t5xxl_fp16.safetensors, ae.safetensors and tokenizers/. The same
arguments give the same bytes. The modules in `tiny/` describe how each part is made so that a LoRA on it learns
visibly.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from library import atomic
from library.files import safetensors_file
from library.flux.config import FluxConfig
from tiny import autoencoder, text_encoders, tokenizers, transformer

LATENT_CHANNELS = 16
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


def parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Writes a tiny FLUX.1 model.", allow_abbrev=False)
    parser.add_argument("out", type=Path, metavar="OUT", help="folder to write into")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--hidden", type=int, default=128, help="width of the transformer")
    parser.add_argument("--heads", type=int, default=4)
    parser.add_argument("--double-blocks", type=int, default=2)
    parser.add_argument("--single-blocks", type=int, default=2)
    parser.add_argument("--text-width", type=int, default=64, help="width of T5")
    parser.add_argument("--vector-width", type=int, default=64, help="width of CLIP")
    parser.add_argument("--clip-layers", type=int, default=2)
    parser.add_argument("--dtype", choices=DTYPES, default="float32", help="number type of the transformer")
    parser.add_argument("--schnell", action="store_true", help="leave the guidance embedder out, as in schnell")
    return parser.parse_args(arguments)


def config_of(options: argparse.Namespace) -> FluxConfig:
    return FluxConfig(
        packed_channels=4 * LATENT_CHANNELS,
        vector_width=options.vector_width,
        text_width=options.text_width,
        hidden=options.hidden,
        mlp_hidden=4 * options.hidden,
        head_width=options.hidden // options.heads,
        double_blocks=options.double_blocks,
        single_blocks=options.single_blocks,
        guidance=not options.schnell,
    )


def main(arguments: list[str]) -> None:
    options = parse(arguments)
    out: Path = options.out
    out.mkdir(parents=True, exist_ok=True)
    flux = transformer.build(config_of(options), seed=options.seed, dtype=DTYPES[options.dtype])
    clip = text_encoders.build_clip(
        vocabulary=tokenizers.CLIP_VOCABULARY,
        width=options.vector_width,
        layers=options.clip_layers,
        seed=options.seed,
    )
    t5 = text_encoders.build_t5(vocabulary=tokenizers.T5_VOCABULARY, width=options.text_width, seed=options.seed)
    write(out / "flux1-dev.safetensors", flux)
    write(out / "clip_l.safetensors", clip)
    write(out / "t5xxl_fp16.safetensors", t5)
    write(out / "ae.safetensors", autoencoder.build(latent_channels=LATENT_CHANNELS))
    tokenizers.write(out / "tokenizers")
    print(f"wrote a tiny Flux with {sum(tensor.numel() for tensor in flux.values()):,} parameters to {out}")


def write(path: Path, tensors: Mapping[str, Tensor]) -> None:
    atomic.write_file(path, lambda part: safetensors_file.write(part, tensors, {"format": "pt"}))


if __name__ == "__main__":
    main(sys.argv[1:])
