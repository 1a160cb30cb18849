# SPDX-License-Identifier: Apache-2.0
"""Every random choice is a function of its purpose and position, never of what was drawn before it.

There is a separate generator for each purpose and position (the order of an epoch, the noise of a micro-step, the
initial weights of a module), so that a resumed run and a run with warm caches draw exactly the same numbers as an
uninterrupted one. All are CPU generators, so a GPU gets the same numbers. Operations that take no generator (dropout)
draw from the default generators, which are seeded again for each micro-step.
"""

from __future__ import annotations

import hashlib

import torch


def generator(purpose: str, *position: int | str) -> torch.Generator:
    """A new generator, seeded from the SHA-256 of (purpose, position).

    The hash makes neighbouring seeds and steps unrelated, which `seed + step` would not do.
    """
    return torch.Generator().manual_seed(_seed(purpose, *position))


def seed_default_generators(purpose: str, *position: int | str) -> None:
    """Seeds the default generators of the CPU and all devices in the same way, since dropout takes no generator."""
    torch.manual_seed(_seed(purpose, *position))


def _seed(purpose: str, *position: int | str) -> int:
    text = "\0".join([purpose, *map(str, position)])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little") >> 1
