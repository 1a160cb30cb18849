# SPDX-License-Identifier: Apache-2.0
"""One record of a job's model files: what their headers say, read once and checked.

Each file must be complete, of the kind that its flag names, and made for the others. Whatever needs a shape, a width
or a size of a model later takes it from this record, so no header is read a second time. Imports no torch.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from library.errors import Gathered, TrainerError
from library.files import file_kinds, safetensors_header
from library.files.model_fit import check_fit
from library.files.safetensors_header import Shapes
from library.findings import note, warn
from library.flux import autoencoder_config, encoder_config, variants
from library.flux import config as flux_config
from library.flux.config import CHANNELS_PER_TOKEN, FLAG, SINGLE_FILE_PREFIX, FluxConfig
from library.flux.variants import Variant
from library.options.options import Options

MODELS = ("pretrained_model_name_or_path", "clip_l", "t5xxl", "ae")

Config = TypeVar("Config")
Arguments = dict[str, Any]
"""The arguments of a config class of transformers or diffusers."""


@dataclass(frozen=True, kw_only=True)
class ModelFile(Generic[Config]):
    """One model. `config`: its widths and depths; `shapes`: those of its tensors, by the keys of the file, without
    what the file has beside the model."""

    path: Path
    config: Config
    shapes: Shapes

    @property
    def numbers(self) -> int:
        """How many numbers the model has."""
        return count(self.shapes)


@dataclass(frozen=True, kw_only=True)
class ModelFiles:
    """The model files of one job. `network_weights`: the shapes in that file; None without the flag."""

    transformer: ModelFile[FluxConfig]
    clip: ModelFile[Arguments]
    t5: ModelFile[Arguments]
    autoencoder: ModelFile[Arguments]
    network_weights: Shapes | None
    variant: Variant


def count(shapes: Shapes) -> int:
    """How many numbers tensors of these shapes have."""
    return sum(map(math.prod, shapes.values()))


@dataclass(frozen=True, kw_only=True)
class Part:
    """A model other than the transformer. `width`: which value of its config must fit the transformer; `loaded`: what
    the keys that are loaded begin with; `used`: the model's own shapes among those of the file."""

    what: str
    read: Callable[[Shapes], Arguments]
    keys: Callable[[Mapping[str, Any]], dict[str, tuple[int, ...]]]
    width: str
    loaded: str = ""
    used: Callable[[Shapes], Shapes]


PARTS = {
    "clip_l": Part(
        what="the CLIP-L text encoder",
        read=encoder_config.clip_config,
        keys=encoder_config.clip_keys,
        width="hidden_size",
        loaded=encoder_config.CLIP_PREFIX,
        used=encoder_config.clip_shapes,
    ),
    "t5xxl": Part(
        what="the T5 text encoder",
        read=encoder_config.t5_config,
        keys=encoder_config.t5_keys,
        width="d_model",
        used=encoder_config.t5_shapes,
    ),
    "ae": Part(
        what="Flux's autoencoder",
        read=autoencoder_config.read_config,
        keys=autoencoder_config.keys,
        width="latent_channels",
        used=dict,
    ),
}


def read(options: Options) -> ModelFiles:
    """Reads and checks the headers of all model files. Raises TrainerError with every problem."""
    note(*(getattr(options, name) for name in MODELS), options.network_weights)
    gathered = Gathered()
    transformer, weights = None, None
    with gathered:
        transformer = read_transformer(options.pretrained_model_name_or_path)
    parts: dict[str, ModelFile[Arguments]] = {}
    for flag in PARTS:
        with gathered:
            parts[flag] = _read_part(options, flag, transformer)
    if transformer is not None:
        with gathered:
            _check_blocks(options, transformer.config)
    if options.network_weights:
        with gathered:
            weights = safetensors_header.read_shapes(options.network_weights, "--network_weights")
    gathered.throw()
    assert transformer is not None
    return ModelFiles(
        transformer=transformer,
        clip=parts["clip_l"],
        t5=parts["t5xxl"],
        autoencoder=parts["ae"],
        network_weights=weights,
        variant=variants.identify(transformer.path.name, guided=transformer.config.guidance),
    )


def read_transformer(path: Path) -> ModelFile[FluxConfig]:
    """The transformer of a file. Raises TrainerError if there is none, or if a key or a shape is not Flux's."""
    in_file = safetensors_header.read_shapes(path, FLAG)
    shapes = safetensors_header.part(in_file, SINGLE_FILE_PREFIX)
    try:
        config = flux_config.read_config(shapes)
    except (KeyError, ValueError) as error:
        what = file_kinds.of_keys(in_file, lacks=error)
        raise TrainerError(f"{FLAG}: {path} is not a Flux transformer: {what}", path=path) from error
    unused = set(check_fit(flux_config.shapes(config), shapes, f"{FLAG}: {path}"))
    if unused:
        keys = "key" if len(unused) == 1 else "keys"
        warn(
            f"{path} has {len(unused)} unrecognized {keys} (ignored), e.g. {min(unused)}",
            setting="pretrained_model_name_or_path",
        )
    used = {key: shape for key, shape in shapes.items() if key not in unused}
    return ModelFile(path=path, config=config, shapes=used)


def _read_part(options: Options, flag: str, transformer: ModelFile[FluxConfig] | None) -> ModelFile[Arguments]:
    """Reads and checks one model other than the transformer. `transformer`: None if it cannot be read."""
    path, part = getattr(options, flag), PARTS[flag]
    shapes = safetensors_header.read_shapes(path, f"--{flag}")
    try:
        config = part.read(shapes)
    except (KeyError, ValueError) as error:
        its_kind = file_kinds.of_keys(shapes, lacks=error)
        raise TrainerError(f"--{flag}: {path} is not {part.what}: {its_kind}", path=path) from error
    # FLUX.2's autoencoder, for example, has more channels.
    if transformer is not None and config[part.width] != (right := _width_for(transformer.config, flag)):
        made_for = options.pretrained_model_name_or_path
        raise TrainerError(f"--{flag} has {part.width} {config[part.width]}, but {made_for} was made for {right}")
    loaded = {key: shape for key, shape in shapes.items() if key.startswith(part.loaded)}
    check_fit(part.keys(config), loaded, f"--{flag}: {path}")
    return ModelFile(path=path, config=config, shapes=part.used(shapes))


def _width_for(flux: FluxConfig, flag: str) -> int:
    """The width that the transformer expects of this model."""
    widths = {
        "clip_l": flux.vector_width,
        "t5xxl": flux.text_width,
        "ae": flux.packed_channels // CHANNELS_PER_TOKEN,
    }
    return widths[flag]


def _check_blocks(options: Options, flux: FluxConfig) -> None:
    wrong = options.network.misfit(double_blocks=flux.double_blocks, single_blocks=flux.single_blocks)
    if wrong:
        raise TrainerError(wrong, kind="command_line")
