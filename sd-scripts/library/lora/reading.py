# SPDX-License-Identifier: Apache-2.0
"""Reads a LoRA in any of five layouts. The matrices are not changed, except that an alpha which this program folded
into lora_B is taken out of it again.

kohya      lora_unet_X.lora_down.weight, .lora_up.weight, .alpha; a missing alpha means the rank
diffusers  transformer.X.lora_A.weight, .lora_B.weight; text_encoder.X for CLIP-L. The alpha is in X.alpha; or in the
           metadata `lora_adapter_metadata`, which diffusers writes; or this program has folded it into lora_B and
           recorded it in the metadata `fluxgym_alphas`; otherwise it is the rank
bfl        diffusion_model.X.lora_A.weight, .lora_B.weight, where X is the published model's name (used by ComfyUI and
           ai-toolkit)
onetrainer lora_transformer_X.lora_down.weight, .lora_up.weight, .alpha, where X is diffusers' name
peft       a folder with adapter_model.safetensors (base_model.model.X.lora_A.weight) and adapter_config.json for
           the transformer, and the same files in its subfolder text_encoder/ for CLIP-L
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor

from library.errors import TrainerError
from library.files import safetensors_header
from library.lora import keys, layout_detection
from library.lora.layouts import TEXT_ENCODER, TRANSFORMER, Family, Layout, full_name
from library.lora.low_rank import LowRank, unfold

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
PEFT_PREFIX = "base_model.model."
FOLDED_ALPHAS = "fluxgym_alphas"
DIFFUSERS_METADATA = "lora_adapter_metadata"
SIDES = {
    keys.DOWN: "down",
    keys.UP: "up",
    "lora_A.weight": "down",
    "lora_B.weight": "up",
    keys.ALPHA: "alpha",
}
KEY = re.compile(rf"(.+)\.({'|'.join(map(re.escape, SIDES))})")
FLOATS = (torch.float64, torch.float32, torch.float16, torch.bfloat16)


@dataclass(frozen=True, kw_only=True)
class LoRAFile:
    """Layers by kohya's names (family "fused") or by diffusers' ("split"). `metadata` lacks the keys that only hold
    alphas."""

    layout: Layout
    family: Family
    layers: dict[str, LowRank]
    metadata: dict[str, str]


AlphaOf = Callable[[str, int], float | None]
"""A function from a layer's name within its part, and its rank, to its alpha, or None if it is not given."""


def read(path: Path) -> LoRAFile:
    """Reads a file in any layout, or PEFT's folder. Raises TrainerError."""
    folder = path if path.is_dir() else path.parent if path.name == WEIGHTS else None
    if folder is not None:
        return _read_peft(folder)
    tensors, metadata = _read_tensors(path)
    naming = layout_detection.identify(_module_names(tensors), f"{path}")
    told: Mapping[str, AlphaOf] = {}
    noted: Mapping[str, float] = {}
    if naming.family == "split":
        noted, told = _noted_alphas(metadata, path), _told_alphas(metadata, path)
    layers = {
        name: unfold(layer, noted[name]) if name in noted else layer
        for name, layer in _layers(tensors, path, naming.canonical, told).items()
    }
    return LoRAFile(layout=naming.layout, family=naming.family, layers=layers, metadata=metadata)


def _module_names(tensors: Iterable[str]) -> list[str]:
    found = (KEY.fullmatch(key) for key in tensors)
    return list(dict.fromkeys(match[1] for match in found if match))


def _read_peft(folder: Path) -> LoRAFile:
    layers: dict[str, LowRank] = {}
    metadata: dict[str, str] = {}
    for part, place in ((TRANSFORMER, folder), (TEXT_ENCODER, folder / TEXT_ENCODER)):
        if not (place / CONFIG).is_file():
            continue
        tensors, own = _read_tensors(place / WEIGHTS)
        alpha_of = _alpha_of(_read_config(place / CONFIG), f"{place / CONFIG}")
        metadata |= own
        layers |= _layers(tensors, place / WEIGHTS, functools.partial(_in_part, part=part), {part: alpha_of})
    if not layers:
        raise TrainerError(f"{folder} has no {CONFIG}; PEFT's layout has it beside {WEIGHTS}")
    return LoRAFile(layout="peft", family="split", layers=layers, metadata=metadata)


def _in_part(name: str, *, part: str) -> str:
    return full_name(f"{part}.{name.removeprefix(PEFT_PREFIX)}")


def _read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """All tensors and the metadata. Raises TrainerError for a file that is not a LoRA, without loading any tensor: it
    may be a complete model."""
    keys = safetensors_header.read_shapes(path, "LoRA")
    if not keys:
        raise TrainerError(f"{path} has no tensors; give a LoRA")
    for key in keys:
        if not KEY.fullmatch(key):
            raise TrainerError(
                f"{path}: {key} is not part of a plain LoRA; models, DoRA, LoKr and biases are not supported"
            )
    with safe_open(path, framework="pt") as file:
        metadata = {key: value for key, value in (file.metadata() or {}).items() if key != "format"}
        return {key: file.get_tensor(key) for key in keys}, metadata


def _layers(
    tensors: Mapping[str, Tensor], path: Path, full: Callable[[str], str], told: Mapping[str, AlphaOf]
) -> dict[str, LowRank]:
    """The layers, each with its down and up. `full` translates a module's name; `told` gives alphas by part.

    Raises TrainerError if a layer lacks one of the two, or if they do not fit each other.
    """
    sides: dict[str, dict[str, Tensor]] = {}
    for key, tensor in tensors.items():
        if found := KEY.fullmatch(key):
            sides.setdefault(full(found[1]), {})[SIDES[found[2]]] = tensor
    return {name: _layer(name, own, path, told) for name, own in sides.items()}


def _layer(name: str, sides: Mapping[str, Tensor], path: Path, told: Mapping[str, AlphaOf]) -> LowRank:
    for side in ("down", "up"):
        if side not in sides:
            raise TrainerError(f"{path}: {name} has no {side} matrix; the file is incomplete")
    down, up = sides["down"], sides["up"]
    if down.ndim != 2 or up.ndim != 2 or down.shape[0] != up.shape[1] or not down.shape[0]:
        raise TrainerError(
            f"{path}: {name} has a down matrix of shape {tuple(down.shape)} and an up matrix of shape "
            f"{tuple(up.shape)}; their shapes must be (rank, inputs) and (outputs, rank)"
        )
    if down.dtype not in FLOATS or up.dtype not in FLOATS:
        raise TrainerError(f"{path}: {name} has type {down.dtype}; only fp32, bf16 and fp16 are supported")
    rank = down.shape[0]
    part, _, within = name.partition(".")
    alpha = float(sides["alpha"]) if "alpha" in sides else told[part](within, rank) if part in told else None
    # In sd-scripts, alpha 0 means the rank.
    return LowRank(down=down, up=up, alpha=alpha or float(rank))


def _noted_alphas(metadata: dict[str, str], path: Path) -> dict[str, float]:
    """The alphas that this program folded into the file's lora_B, removed from the metadata."""
    return {name: float(alpha) for name, alpha in _json(metadata.pop(FOLDED_ALPHAS, "{}"), f"{path}").items()}


def _told_alphas(metadata: dict[str, str], path: Path) -> dict[str, AlphaOf]:
    """The alphas from each part's LoraConfig, which diffusers wrote. They are removed from the metadata, since they
    are valid only in that layout."""
    told = _json(metadata.pop(DIFFUSERS_METADATA, "{}"), f"{path}")
    parts: dict[str, dict[str, Any]] = {}
    for key, value in told.items():
        part, dot, setting = key.partition(".")
        parts.setdefault(part if dot else TRANSFORMER, {})[setting or key] = value
    return {part: _alpha_of(config, f"{path}") for part, config in parts.items()}


def _alpha_of(config: Mapping[str, Any], source: str) -> AlphaOf:
    """The alphas of PEFT's LoraConfig. Raises TrainerError for settings that kohya's layout cannot express."""
    for setting in ("use_dora", "lora_bias", "use_qalora"):
        if config.get(setting):
            raise TrainerError(f"{source}: {setting} is not supported; only plain LoRA is")
    patterns: Mapping[str, float] = config.get("alpha_pattern") or {}
    default = config.get("lora_alpha")

    def alpha_of(name: str, rank: int) -> float | None:
        # As in peft.utils.get_pattern_key, a pattern matches the end of a name, starting after a dot.
        own = next((alpha for key, alpha in patterns.items() if re.match(rf"(.*\.)?({key})$", name)), default)
        if own is None:
            return None
        return float(own) * rank**0.5 if config.get("use_rslora") else float(own)

    return alpha_of


def _read_config(path: Path) -> dict[str, Any]:
    config = _json(path.read_text(encoding="utf-8"), f"{path}")
    if config.get("peft_type") != "LORA":
        raise TrainerError(f"{path}: peft_type is {config.get('peft_type')}; only LORA is supported")
    return config


def _json(text: str, source: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except ValueError as error:
        raise TrainerError(f"{source} is damaged: {error}") from error
    if not isinstance(value, dict):
        raise TrainerError(f"{source} is damaged: it is not a JSON object")
    return value
