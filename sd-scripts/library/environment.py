# SPDX-License-Identifier: Apache-2.0
"""Reads environment variables, in the same way everywhere in the trainer. No torch."""

from __future__ import annotations

import os
from collections.abc import Mapping, MutableMapping
from pathlib import Path

from library.errors import TrainerError

MEANS_SOMETHING_EMPTY = "VISIBLE_DEVICES"
"""How the names of CUDA_VISIBLE_DEVICES and its like end. If such a variable is empty, it hides all GPUs."""
YES = ("y", "yes", "t", "true", "on", "1")
"""The values that accelerate reads as true."""


def drop_empty(environ: MutableMapping[str, str]) -> None:
    """Removes empty variables: torch reads some variables as numbers, and an empty HOME is not a folder."""
    for name in [name for name, value in environ.items() if not value]:
        if not name.endswith(MEANS_SOMETHING_EMPTY):
            del environ[name]


def wants_cpu() -> bool:
    """Whether accelerate is told not to use the GPU. `accelerate launch` always sets this, usually to False."""
    return os.environ.get("ACCELERATE_USE_CPU", "").lower() in YES


def number(environ: Mapping[str, str], name: str, default: int) -> int:
    """The value of a variable that the launcher sets. Raises TrainerError if it is not an integer from 0."""
    text = environ.get(name, "") or str(default)
    if not text.isascii() or not text.isdigit():
        raise TrainerError(f"{name} is {text!r}, but must be a whole number, as accelerate launch sets it")
    return int(text)


def user_cache() -> Path | None:
    """FluxGym's folder in this user's cache folder; None if there is no home directory."""
    for base in (os.environ.get("XDG_CACHE_HOME", ""), os.path.expanduser("~/.cache")):
        if base.startswith("/"):
            return Path(base) / "fluxgym"
    return None
