# SPDX-License-Identifier: Apache-2.0
"""FLUX.1 as a family of models: what `family.port` asks for. What imports torch is imported when it is needed."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from library.family import port, sizes
from library.family.cache_names import CacheNames
from library.family.port import Layers, ModelSpec, TextLimit, TextSources, WeightFile
from library.family.sizes import AutoencoderSize, TextSize, TransformerSize
from library.files.safetensors_header import Shapes
from library.flux import activations, flops, layers, model_files, tokenization, variants
from library.flux.autoencoder_config import PIXELS_PER_LATENT
from library.flux.config import CHANNELS_PER_TOKEN, SINGLE_FILE_PREFIX, FluxConfig
from library.flux.model_files import ModelFiles
from library.flux.tokenization import CLIP_LENGTH, Tokenizers
from library.options.options import Options

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from library.flux.autoencoder import Autoencoder
    from library.flux.encoding import TextEncoders, TextFile
    from library.flux.model import Flux

CACHE_NAMES = CacheNames(
    latents_end="_flux.npz",
    text_end="_flux_te.npz",
    pixels_per_latent=PIXELS_PER_LATENT,
    text_arrays=("l_pooled", "t5_out", "txt_ids", "t5_attn_mask", "apply_t5_attn_mask"),
)
T5_LENGTH_DEV, T5_LENGTH_SCHNELL = 512, 256
IMPLEMENTATION = "https://github.com/black-forest-labs/flux"
# Pixels per side if no resolution is given.
SIDE = 1024
# What the autoencoder needs in addition to its weights, in fp32: bytes per pixel.
ENCODING, DECODING = 2650, 3200
# What a layer of CLIP-L keeps, in bytes per token and hidden number: about as much as a stream of a double block.
CLIP_KEPT = 60
FP32, INT64 = 4, 8


@dataclass(frozen=True)
class FluxModel:
    """One of FLUX.1's models. `t5_length`: how many tokens T5 reads of a text."""

    files: ModelFiles
    t5_length: int
    cache_names: CacheNames = CACHE_NAMES

    @property
    def name(self) -> str:
        return self.files.variant.name

    @property
    def numbers(self) -> int:
        return self.files.transformer.numbers

    @property
    def network_weights(self) -> Shapes | None:
        return self.files.network_weights

    @property
    def autoencoder_path(self) -> Path:
        return self.files.autoencoder.path

    @functools.cached_property
    def transformer_size(self) -> TransformerSize:
        return transformer_size(self.files.transformer.config, self.files.transformer.shapes)

    @property
    def autoencoder_size(self) -> AutoencoderSize:
        return AutoencoderSize(
            numbers=self.files.autoencoder.numbers,
            encoding=ENCODING,
            decoding=DECODING,
            pixels=PIXELS_PER_LATENT,
            channels=self.files.transformer.config.packed_channels // CHANNELS_PER_TOKEN,
        )

    @property
    def text_size(self) -> TextSize:
        files, flux = self.files, self.files.transformer.config
        clip = files.clip.config
        return TextSize(
            numbers=files.clip.numbers + files.t5.numbers,
            trained=files.clip.numbers,
            kept=CLIP_LENGTH * CLIP_KEPT * clip["hidden_size"] * clip["num_hidden_layers"],
            tokens=self.t5_length,
            cached=text_bytes(tokens=self.t5_length, text_width=flux.text_width, vector_width=flux.vector_width),
        )

    @property
    def text_limits(self) -> tuple[TextLimit, ...]:
        return (
            TextLimit(name="T5", key="t5", tokens=self.t5_length, setting="t5xxl_max_token_length", trained=False),
            TextLimit(name="CLIP-L", key="clip", tokens=CLIP_LENGTH, setting=None, trained=True),
        )

    def text_sources(self, options: Options) -> TextSources:
        models = {"clip": self.files.clip.path, "t5": self.files.t5.path}
        tokenizers = tokenization.files(cache_dir=options.tokenizer_cache_dir, models_dir=options.clip_l.parent)
        return TextSources(models=models, tokenizers=tokenizers, settings={"t5_length": self.t5_length})

    @property
    def spec(self) -> ModelSpec:
        variant = "dev" if self.files.transformer.config.guidance else "schnell"
        return ModelSpec(version="flux1", architecture=f"flux-1-{variant}", implementation=IMPLEMENTATION, side=SIDE)

    def advice(self, options: Options) -> list[str]:
        return variants.advice(self.files.variant, options)

    def layers(self) -> tuple[Layers, Layers]:
        return layers.of_transformer(self.files.transformer.shapes), layers.of_clip(self.files.clip.shapes)

    def weight_files(self) -> list[WeightFile]:
        files = self.files
        return [
            WeightFile(
                setting="pretrained_model_name_or_path", path=files.transformer.path, prefix=SINGLE_FILE_PREFIX
            ),
            WeightFile(setting="clip_l", path=files.clip.path, keys=frozenset(files.clip.shapes)),
            WeightFile(setting="t5xxl", path=files.t5.path, keys=frozenset(files.t5.shapes)),
            WeightFile(setting="ae", path=files.autoencoder.path),
        ]

    def flops(self, ranks: Mapping[str, int], *, image_tokens: int) -> int:
        shapes = self.files.transformer.shapes
        return flops.flops(shapes, ranks, image_tokens=image_tokens, text_tokens=self.t5_length).counted

    def load_tokenizers(self, options: Options) -> Tokenizers:
        found = tokenization.load(
            cache_dir=options.tokenizer_cache_dir, models_dir=options.clip_l.parent, t5_length=self.t5_length
        )
        clip, t5 = self.files.clip.config, self.files.t5.config
        found.check(clip_vocabulary=clip["vocab_size"], t5_vocabulary=t5["vocab_size"])
        return found

    def text_file(self) -> TextFile:
        from library.flux.encoding import TextFile

        return TextFile(names=self.cache_names.text_arrays, t5_length=self.t5_length)

    def load_autoencoder(self, device: torch.device) -> Autoencoder:
        from library.flux.autoencoder import Autoencoder

        return Autoencoder(self.files.autoencoder.path, self.files.autoencoder.config, device)

    def load_text_encoders(
        self,
        tokenizers: port.Tokenizers,
        *,
        trained: bool,
        only_trained: bool,
        device: torch.device,
        dtype: torch.dtype,
    ) -> TextEncoders:
        from library.flux.encoding import TextEncoders

        assert isinstance(tokenizers, Tokenizers), "those of load_tokenizers"

        return TextEncoders.load(
            self.files, tokenizers, trains_clip=trained, with_t5=not only_trained, device=device, dtype=dtype
        )

    def load_transformer(
        self, *, dtype: torch.dtype, device: torch.device, base: str, stays: Callable[[str], torch.device]
    ) -> Flux:
        from library.flux import loading

        file = self.files.transformer
        return loading.load_transformer(file.path, file.config, dtype=dtype, device=device, base=base, stays=stays)

    def transformer_on_meta(self) -> Flux:
        from library.flux import loading

        return loading.on_meta(self.files.transformer.config)

    def encoder_on_meta(self) -> nn.Module:
        from library.flux import text_encoders

        return text_encoders.clip_on_meta(self.files.clip.config)

    def sample_levels(self, steps: int, *, tokens: int) -> Tensor:
        from library.flux import schedule

        return schedule.levels(steps, tokens, guided=self.files.transformer.config.guidance)


class Flux1:
    """The family: dev, schnell, Krea and what was made from them."""

    flags: tuple[str, ...] = model_files.MODELS
    cache_names: CacheNames = CACHE_NAMES

    def read(self, options: Options) -> FluxModel:
        files = model_files.read(options)
        usual = T5_LENGTH_DEV if files.transformer.config.guidance else T5_LENGTH_SCHNELL
        return FluxModel(files=files, t5_length=options.t5xxl_max_token_length or usual)


def transformer_size(config: FluxConfig, shapes: Shapes) -> TransformerSize:
    """The size of a transformer. `shapes`: those of its tensors, by key."""
    return sizes.transformer(
        shapes,
        config.stacks,
        hidden=config.hidden,
        latents_per_token=CHANNELS_PER_TOKEN,
        loras=(activations.double_numbers(config), activations.single_numbers(config)),
        kept=(functools.partial(activations.double, config), functools.partial(activations.single, config)),
    )


def text_bytes(*, tokens: int, text_width: int, vector_width: int) -> int:
    """Bytes of one caption's embeddings: T5's tokens, their positions and mask, CLIP's vector. 8.4 MB for FLUX.1."""
    return tokens * (text_width * FP32 + 3 * FP32 + INT64) + vector_width * FP32
