# SPDX-License-Identifier: Apache-2.0
"""Checks the headers of the model files: each must be complete, of the kind that its flag names, and made for the
others. Imports no torch."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from library.errors import Gathered, TrainerError
from library.files import file_kinds, safetensors_header
from library.files.model_fit import check_fit
from library.files.safetensors_header import Shapes
from library.findings import note, warn
from library.flux import autoencoder_config, encoder_config, variants
from library.flux import config as flux_config
from library.flux.config import CHANNELS_PER_TOKEN, SINGLE_FILE_PREFIX, FluxConfig
from library.flux.variants import Variant
from library.options.options import Options

MODELS = ("pretrained_model_name_or_path", "clip_l", "t5xxl", "ae")


@dataclass(frozen=True, kw_only=True)
class Models:
    """What the headers say. `flux_parameters`: how many numbers the transformer has."""

    flux: FluxConfig
    flux_parameters: int
    variant: Variant


@dataclass(frozen=True, kw_only=True)
class Part:
    """A model other than the transformer. `width`: which value of its config must fit the transformer; `prefix`: what
    the keys that are loaded begin with."""

    what: str
    read: Callable[[Shapes], dict[str, Any]]
    keys: Callable[[Mapping[str, Any]], dict[str, tuple[int, ...]]]
    width: str
    prefix: str = ""


PARTS = {
    "clip_l": Part(
        what="the CLIP-L text encoder",
        read=encoder_config.clip_config,
        keys=encoder_config.clip_keys,
        width="hidden_size",
        prefix=encoder_config.CLIP_PREFIX,
    ),
    "t5xxl": Part(
        what="the T5 text encoder",
        read=encoder_config.t5_config,
        keys=encoder_config.t5_keys,
        width="d_model",
    ),
    "ae": Part(
        what="Flux's autoencoder",
        read=autoencoder_config.read_config,
        keys=autoencoder_config.keys,
        width="latent_channels",
    ),
}


def check(options: Options) -> Models:
    """Reads and checks the headers of all model files. Raises TrainerError with every problem."""
    note(*(getattr(options, name) for name in MODELS), options.network_weights)
    gathered = Gathered()
    flux, parameters = None, 0
    with gathered:
        flux, parameters = _check_transformer(options)
    for flag, part in PARTS.items():
        with gathered:
            _check_part(options, flag, part, flux)
    if flux is not None:
        with gathered:
            _check_blocks(options, flux)
    if options.network_weights:
        with gathered:
            safetensors_header.read_shapes(options.network_weights, "--network_weights")
    gathered.throw()
    assert flux is not None
    variant = variants.identify(options.pretrained_model_name_or_path.name, guided=flux.guidance)
    return Models(flux=flux, flux_parameters=parameters, variant=variant)


def _check_transformer(options: Options) -> tuple[FluxConfig, int]:
    """The transformer's config, and how many numbers it has."""
    path = options.pretrained_model_name_or_path
    in_file = safetensors_header.read_shapes(path, "--pretrained_model_name_or_path")
    shapes = safetensors_header.part(in_file, SINGLE_FILE_PREFIX)
    try:
        flux = flux_config.read_config(shapes)
    except (KeyError, ValueError) as error:
        what = file_kinds.of_keys(in_file, lacks=error)
        raise TrainerError(
            f"--pretrained_model_name_or_path: {path} is not a Flux transformer: {what}", path=path
        ) from error
    used = flux_config.shapes_of(path, flux)
    if unused := sorted(shapes.keys() - used.keys()):
        keys = "key" if len(unused) == 1 else "keys"
        warn(
            f"{path} has {len(unused)} unrecognized {keys} (ignored), e.g. {unused[0]}",
            setting="pretrained_model_name_or_path",
        )
    return flux, sum(map(math.prod, used.values()))


def _check_part(options: Options, flag: str, part: Part, flux: FluxConfig | None) -> None:
    """Checks one model other than the transformer. `flux`: None if the transformer cannot be read."""
    path = getattr(options, flag)
    shapes = safetensors_header.read_shapes(path, f"--{flag}")
    try:
        config = part.read(shapes)
    except (KeyError, ValueError) as error:
        its_kind = file_kinds.of_keys(shapes, lacks=error)
        raise TrainerError(f"--{flag}: {path} is not {part.what}: {its_kind}", path=path) from error
    # FLUX.2's autoencoder, for example, has more channels.
    if flux is not None and config[part.width] != (right := _width_for(flux, flag)):
        made_for = options.pretrained_model_name_or_path
        raise TrainerError(f"--{flag} has {part.width} {config[part.width]}, but {made_for} was made for {right}")
    loaded = {key: shape for key, shape in shapes.items() if key.startswith(part.prefix)}
    check_fit(part.keys(config), loaded, f"--{flag}: {path}")


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
