# SPDX-License-Identifier: Apache-2.0
"""Compares a file's keys and shapes with those that a model needs. Pure."""

from __future__ import annotations

from library.errors import TrainerError
from library.files.safetensors_header import SCALE_KEYS, Shapes


def check_fit(own: Shapes, shapes: Shapes, source: str) -> list[str]:
    """The keys in `shapes`, a file's, that a model with the keys `own` does not use: those of other models in the
    same file, which sd-scripts ignores too.

    Raises TrainerError if one of the model's keys is missing or has another shape, or if an extra key belongs to one
    of its tensors or modules: a matrix whose scales are not read (NF4, other fp8 formats) means something else.
    """
    given = {key: shape for key, shape in shapes.items() if not key.endswith(SCALE_KEYS)}
    filled = {part for key in own for part in (key, key.rpartition(".")[0])}
    unused = [key for key in given if key not in own]
    wrong = [
        *(f"lacks {key}" for key in own if key not in given),
        *(f"has the unexpected key {key}" for key in unused if _within(key, filled)),
        *(
            f"has {key} with shape {given[key]} instead of {own[key]}"
            for key in own
            if given.get(key, own[key]) != own[key]
        ),
    ]
    if wrong:
        more = f" ({len(wrong)} keys are wrong)" if len(wrong) > 1 else ""
        raise TrainerError(f"{source} is damaged or a different model: it {wrong[0]}{more}")
    return unused


def _within(key: str, names: set[str]) -> bool:
    """Whether one of the key's parents, at any depth, is one of the names."""
    parts = key.split(".")
    return any(".".join(parts[:length]) in names for length in range(1, len(parts)))
