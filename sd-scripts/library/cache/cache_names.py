# SPDX-License-Identifier: Apache-2.0
"""Names of the caches beside a picture, the same as sd-scripts'. No torch."""

from __future__ import annotations

from pathlib import Path

from library.data.dataset import Picture


def latents(picture: Picture) -> Path:
    size = f"{picture.size.width:04d}x{picture.size.height:04d}"
    return picture.path.with_name(f"{picture.path.stem}_{size}_flux.npz")


def text(picture: Picture) -> Path:
    return picture.path.with_name(f"{picture.path.stem}_flux_te.npz")
