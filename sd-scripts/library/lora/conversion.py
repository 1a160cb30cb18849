# SPDX-License-Identifier: Apache-2.0
"""Converts a LoRA's layers between kohya's names and fused projections and diffusers' names and split ones.

Each layer keeps its product. A conversion and its inverse together reproduce each tensor, bit for bit (`low_rank`
says why).
"""

from __future__ import annotations

from collections.abc import Mapping

from library.errors import TrainerError
from library.lora.layouts import Place, place_of_diffusers, place_of_kohya
from library.lora.low_rank import LowRank, fuse, split, swapped_halves


def to_diffusers(layers: Mapping[str, LowRank]) -> dict[str, LowRank]:
    """Layers by kohya's names -> by diffusers'. Raises TrainerError for a layer that diffusers does not have."""
    renamed: dict[str, LowRank] = {}
    for name, layer in layers.items():
        place = place_of_kohya(name)
        members = zip(place.members, _members(name, place, layer), strict=True)
        renamed |= {member: part for member, part in members if part is not None}
    return renamed


def _members(name: str, place: Place, layer: LowRank) -> list[LowRank | None]:
    if place.swapped:
        layer = swapped_halves(layer)
    if len(place.members) == 1:
        return [layer]
    try:
        return split(layer, len(place.members))
    except ValueError as error:
        raise TrainerError(f"{name} cannot be split: {error}") from error


def to_kohya(layers: Mapping[str, LowRank]) -> dict[str, LowRank]:
    """Layers by diffusers' names -> by kohya's. Raises TrainerError for a layer that kohya's layout does not have."""
    places: dict[str, Place] = {}
    for name in layers:
        place = place_of_diffusers(name)
        places[place.kohya] = place
    return {name: _fused(place, layers) for name, place in places.items()}


def _fused(place: Place, layers: Mapping[str, LowRank]) -> LowRank:
    try:
        layer = fuse([layers.get(member) for member in place.members])
    except ValueError as error:
        raise TrainerError(f"{place.kohya} cannot be fused: {error}") from error
    return swapped_halves(layer) if place.swapped else layer
