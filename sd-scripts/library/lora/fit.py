# SPDX-License-Identifier: Apache-2.0
"""Compares saved weights with this run's LoRA, and lists all differences."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Protocol

import torch
from torch import Tensor

from library.lora import keys
from library.lora.keys import ALPHA, DOWN, SIDES, UP

CLIP = "lora_te1_"
# How many differences of single matrices a sentence lists.
MOST = 4


class Layer(Protocol):
    """The attributes of a layer that are compared."""

    alpha: float
    down: torch.nn.Parameter
    up: torch.nn.Parameter


def differences(own: Mapping[str, Layer], tensors: Mapping[str, Tensor]) -> list[str]:
    """Each difference as a clause with the saved ("there") and this run's value ("here"). `own`: this run's layers by
    name."""
    saved: dict[str, dict[str, Tensor]] = {}
    for key, tensor in tensors.items():
        name, side = keys.split(key)
        saved.setdefault(name, {})[side] = tensor
    shared = [name for name in own if name in saved]
    return [
        *_layers(own.keys(), saved.keys()),
        *_sides(own, saved, shared),
        *_alphas(own, saved, shared),
    ]


def sentence(source: str, different: Sequence[str]) -> str:
    return f"{source} does not fit this run: {'; '.join(different)}; use the settings it was made with"


def _layers(own: Collection[str], saved: Collection[str]) -> list[str]:
    """Layers that only one of the two has."""
    missing, surplus = sorted(set(own) - set(saved)), sorted(set(saved) - set(own))
    found = []
    trains_clip, trained_clip = _has_clip(own), _has_clip(saved)
    if trains_clip != trained_clip:
        was, now = ("was trained", "does not train it") if trained_clip else ("was not trained", "trains it")
        found.append(f"CLIP-L {was}, but this run {now} (--network_train_unet_only)")
        missing = [name for name in missing if not name.startswith(CLIP)]
        surplus = [name for name in surplus if not name.startswith(CLIP)]
    if missing:
        found.append(f"it lacks {_named(missing)} (other --network_args or another model)")
    if surplus:
        what = f"it has {_named(surplus)}, which this run does not train"
        found.append(f"{what} (other --network_args or another model)")
    return found


def _has_clip(names: Iterable[str]) -> bool:
    return any(name.startswith(CLIP) for name in names)


def _named(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{names[0]} and {len(names) - 1} more layers"


def _sides(own: Mapping[str, Layer], saved: Mapping[str, Mapping[str, Tensor]], shared: Sequence[str]) -> list[str]:
    """Matrices that are missing or have other shapes. Ranks are reported once for all layers."""
    found = []
    ranks: set[tuple[int, int]] = set()
    for name in shared:
        layer, there = own[name], saved[name]
        found += [f"it has {name}.{side}, which is not part of a LoRA" for side in sorted(there.keys() - set(SIDES))]
        for side, mine in ((DOWN, layer.down), (UP, layer.up)):
            if side not in there:
                found.append(f"it lacks {name}.{side}")
                continue
            here, shape = tuple(mine.shape), tuple(there[side].shape)
            rank = 0 if side == DOWN else 1
            if len(shape) == 2 and shape[1 - rank] == here[1 - rank]:
                ranks |= {(shape[rank], here[rank])} - {(shape[rank], shape[rank])}
            elif shape != here:
                found.append(f"{name}.{side} has shape {shape} instead of {here}")
    if ranks:
        there_here = (_numbers(each) for each in zip(*ranks, strict=True))
        found.append("its rank is {}, but this run's is {} (--network_dim)".format(*there_here))
    if len(found) > MOST:
        found = [*found[: MOST - 1], f"{len(found) - MOST + 1} more matrices differ"]
    return found


def _alphas(own: Mapping[str, Layer], saved: Mapping[str, Mapping[str, Tensor]], shared: Sequence[str]) -> list[str]:
    """Differences of alpha, compared in the file's type, since bf16 holds few alphas exactly."""
    found = []
    alphas: set[tuple[float, float]] = set()
    for name in shared:
        alpha = saved[name].get(ALPHA)
        if alpha is None:
            continue
        if alpha.numel() != 1:
            found.append(f"{name}.alpha has {alpha.numel()} numbers instead of 1")
        elif alpha.item() != torch.tensor(float(own[name].alpha)).to(alpha.dtype).item():
            alphas.add((float(alpha), own[name].alpha))
    if alphas:
        there_here = (_numbers(each) for each in zip(*alphas, strict=True))
        found.append("its alpha is {}, but this run's is {} (--network_alpha)".format(*there_here))
    return found


def _numbers(numbers: Iterable[float]) -> str:
    return ", ".join(f"{number:g}" for number in sorted(set(numbers)))
