# SPDX-License-Identifier: Apache-2.0
"""Writes a LoRA in one of three layouts, which `reading` describes. The result is complete or does not exist.

Many readers of diffusers' layout ignore alpha, so there the scale is folded into lora_B. Only files in kohya's layout
get hashes, which are defined for its tensors. Each writer raises OSError.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor

from library import atomic
from library.files import safetensors_file
from library.files.hashes import lora_hashes
from library.lora import keys
from library.lora.layouts import TRANSFORMER
from library.lora.low_rank import LowRank, fold
from library.lora.reading import CONFIG, FOLDED_ALPHAS, PEFT_PREFIX, WEIGHTS

HASHES = ("sshs_model_hash", "sshs_legacy_hash")
T = TypeVar("T")


def write_kohya(path: Path, layers: Mapping[str, LowRank], metadata: Mapping[str, str]) -> None:
    """Writes kohya's layout, with the two hashes. An alpha that its layer's type cannot hold exactly is fp32."""
    tensors = {}
    for name, layer in layers.items():
        alpha = torch.tensor(layer.alpha, dtype=torch.float32)
        own = alpha.to(layer.down.dtype)
        tensors[keys.key_of(name, keys.ALPHA)] = own if own.double() == alpha.double() else alpha
        tensors[keys.key_of(name, keys.DOWN)] = layer.down
        tensors[keys.key_of(name, keys.UP)] = layer.up
    model, legacy = lora_hashes(_distinct(tensors), metadata)
    _write(path, tensors, {**metadata, **dict(zip(HASHES, (model, legacy), strict=True))})


def write_diffusers(path: Path, layers: Mapping[str, LowRank], metadata: Mapping[str, str]) -> None:
    """Writes diffusers' layout. Each scale is folded into its lora_B, and the alpha is recorded in the metadata."""
    tensors = {}
    for name, layer in layers.items():
        plain = fold(layer)
        tensors[f"{name}.lora_A.weight"], tensors[f"{name}.lora_B.weight"] = plain.down, plain.up
    noted = {name: layer.alpha for name, layer in layers.items() if layer.scale != 1}
    _write(path, tensors, _unhashed(metadata) | ({FOLDED_ALPHAS: json.dumps(noted, sort_keys=True)} if noted else {}))


def write_peft(folder: Path, layers: Mapping[str, LowRank], metadata: Mapping[str, str]) -> None:
    """Writes PEFT's layout, one adapter per model. CLIP-L's modules have their names in transformers 5."""

    def fill(place: Path) -> None:
        for part, own in _by_part(layers).items():
            target = place if part == TRANSFORMER else place / part
            target.mkdir(exist_ok=True)
            tensors = {}
            for name, layer in own.items():
                tensors[f"{PEFT_PREFIX}{name}.lora_A.weight"] = layer.down
                tensors[f"{PEFT_PREFIX}{name}.lora_B.weight"] = layer.up
            safetensors_file.write(target / WEIGHTS, _distinct(tensors), _unhashed(metadata))
            text = json.dumps(peft_config(own), indent=2, sort_keys=True) + "\n"
            (target / CONFIG).write_text(text, encoding="utf-8")
            for file in target.iterdir():
                atomic.fsync_path(file)

    atomic.write_directory(folder, fill)


def _by_part(layers: Mapping[str, LowRank]) -> dict[str, dict[str, LowRank]]:
    parts: dict[str, dict[str, LowRank]] = {}
    for name, layer in layers.items():
        part, _, within = name.partition(".")
        parts.setdefault(part, {})[within.removeprefix("text_model.")] = layer
    return parts


def peft_config(layers: Mapping[str, LowRank]) -> dict[str, Any]:
    """PEFT's LoraConfig for these layers: the most common rank and alpha, and by name those that differ."""
    rank = _commonest(layer.rank for layer in layers.values())
    alpha = _commonest(layer.alpha for layer in layers.values())
    # PEFT matches a pattern against the end of a module's name; with `^`, it has to match the complete name.
    patterns = {name: f"^{name}" if any(other.endswith(f".{name}") for other in layers) else name for name in layers}
    return {
        "peft_type": "LORA",
        "task_type": None,
        "base_model_name_or_path": None,
        "inference_mode": True,
        "bias": "none",
        "lora_dropout": 0.0,
        "r": rank,
        "lora_alpha": _number(alpha),
        "rank_pattern": {patterns[name]: layer.rank for name, layer in layers.items() if layer.rank != rank},
        "alpha_pattern": {
            patterns[name]: _number(layer.alpha) for name, layer in layers.items() if layer.alpha != alpha
        },
        "target_modules": sorted(layers),
    }


def _commonest(values: Iterable[T]) -> T:
    return Counter(values).most_common(1)[0][0]


def _number(value: float) -> float | int:
    return int(value) if value.is_integer() else value


def _unhashed(metadata: Mapping[str, str]) -> dict[str, str]:
    """The metadata without the hashes, which are only right for kohya's layout, and with `format`."""
    return {"format": "pt"} | {key: value for key, value in metadata.items() if key not in HASHES}


def _distinct(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Copies tensors that share memory, since safetensors refuses them. A fused layer's members share its `down`."""
    seen: set[int] = set()
    distinct = {}
    for key, tensor in tensors.items():
        distinct[key] = tensor.clone() if tensor.data_ptr() in seen else tensor.contiguous()
        seen.add(tensor.data_ptr())
    return distinct


def _write(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
    atomic.write_file(path, lambda part: safetensors_file.write(part, _distinct(tensors), metadata))
