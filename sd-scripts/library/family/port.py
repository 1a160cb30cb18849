# SPDX-License-Identifier: Apache-2.0
"""What the trainer asks of a family of models: FLUX.1 is one. Only `families.py` knows which families there are.

A `Family` is known before any file is read. Its `read` gives the `BaseModel` of a job, from headers alone; the rest
of the trainer gets this object and asks it for sizes, models and names. Importing a family imports no torch, and
neither does anything else here but the methods that say so, since --check_job must answer without it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from library.family.cache_names import CacheNames
from library.family.sizes import AutoencoderSize, TextSize, TransformerSize
from library.files.safetensors_header import Shapes
from library.options.options import Options

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from library.compute.transformer import Transformer
    from library.family.models import Autoencoder, TextEncoders, TextFile

Layers = Mapping[str, tuple[int, int]]
"""The shape (out, in) of each layer that a LoRA can train, by its name in a LoRA's file."""


@dataclass(frozen=True, kw_only=True)
class TextLimit:
    """How much of a text an encoder reads. `name`: the encoder's, for people; `key`: what its values are called in
    the answer to --plan, before Reads and Tokens; `tokens`: how many it reads; `setting`: the flag that says so,
    without dashes, None if the model does; `trained`: whether a text that is too long matters only if this encoder is
    trained."""

    name: str
    key: str
    tokens: int
    setting: str | None
    trained: bool


@dataclass(frozen=True, kw_only=True)
class WeightFile:
    """A model file. `prefix`: that of the part that is used; `keys`: those that are used, None for all."""

    setting: str
    path: Path
    prefix: str = ""
    keys: frozenset[str] | None = None


@dataclass(frozen=True, kw_only=True)
class TextSources:
    """What the numbers of an encoded text depend on. `models`: the files of the encoders, by name; `tokenizers`:
    those of the tokenizers, none if one is missing, since a training with all of its caches needs none."""

    models: Mapping[str, Path]
    tokenizers: Sequence[Path]
    settings: Mapping[str, object]


@dataclass(frozen=True, kw_only=True)
class ModelSpec:
    """What a LoRA's metadata says about its base model. `version`: ss_base_model_version; `architecture` and
    `implementation`: those of modelspec; `side`: pixels per side if no resolution is given."""

    version: str
    architecture: str
    implementation: str
    side: int


class Tokenizers(Protocol):
    """A job's tokenizers, loaded."""

    def lengths(self, key: str, texts: Sequence[str]) -> list[int]:
        """How many tokens each text has before it is cut off, for the encoder with this `TextLimit.key`."""


class BaseModel(Protocol):
    """The model files of one job, which are complete and fit each other, and all that the trainer takes from them."""

    @property
    def name(self) -> str:
        """The variant, for people: FLUX.1 schnell."""

    @property
    def numbers(self) -> int:
        """How many numbers the transformer has."""

    @property
    def network_weights(self) -> Shapes | None:
        """The shapes in the file of --network_weights; None without the flag."""

    @property
    def autoencoder_path(self) -> Path: ...

    @property
    def transformer_size(self) -> TransformerSize: ...

    @property
    def autoencoder_size(self) -> AutoencoderSize: ...

    @property
    def text_size(self) -> TextSize: ...

    @property
    def cache_names(self) -> CacheNames: ...

    @property
    def text_limits(self) -> tuple[TextLimit, ...]:
        """Those of all text encoders."""

    def text_sources(self, options: Options) -> TextSources: ...

    @property
    def spec(self) -> ModelSpec: ...

    def advice(self, options: Options) -> list[str]:
        """The warnings for training on this variant, one sentence each."""

    def layers(self) -> tuple[Layers, Layers]:
        """The layers of (transformer, trained text encoder) that a LoRA can train."""

    def weight_files(self) -> list[WeightFile]:
        """All model files."""

    def flops(self, ranks: Mapping[str, int], *, image_tokens: int) -> int:
        """The FLOPs of a forward and backward pass for one picture, with a LoRA of these ranks by layer."""

    def load_tokenizers(self, options: Options) -> Tokenizers:
        """Raises TrainerError if a tokenizer is missing, damaged or made for another model."""

    def text_file(self) -> TextFile:
        """How an encoded text is kept in a file. Imports torch, as all that follow do."""

    def load_autoencoder(self, device: torch.device) -> Autoencoder: ...

    def load_text_encoders(
        self, tokenizers: Tokenizers, *, trained: bool, only_trained: bool, device: torch.device, dtype: torch.dtype
    ) -> TextEncoders:
        """The text encoders, frozen. `trained`: whether one of them gets a LoRA; `only_trained`: whether only this
        one is needed."""

    def load_transformer(
        self, *, dtype: torch.dtype, device: torch.device, base: str, stays: Callable[[str], torch.device]
    ) -> Transformer:
        """The transformer, frozen, in `dtype`; with `base` "fp8", its blocks' matrices are in 8 bits. `stays`: the
        device for a tensor, by its key. Raises TrainerError if the file has changed."""

    def transformer_on_meta(self) -> Transformer:
        """The transformer without its weights."""

    def encoder_on_meta(self) -> nn.Module:
        """The text encoder that can get a LoRA, without its weights."""

    def sample_levels(self, steps: int, *, tokens: int) -> Tensor:
        """The noise levels of a sample of so many image tokens, from 1 to 0: (steps + 1)."""


class Family(Protocol):
    """A family of models. `flags`: those that name model files, without dashes."""

    flags: tuple[str, ...]
    cache_names: CacheNames

    def read(self, options: Options) -> BaseModel:
        """Reads and checks the headers of all model files. Raises TrainerError with every problem."""
