# SPDX-License-Identifier: Apache-2.0
"""Every random choice is a function of what it is for, never of what was drawn before it.

A generator is made for each purpose and position (order of an epoch, noise of a micro-step, start weights of one
module), so that a resumed run and a run with warm caches draw exactly what the undisturbed one drew
(trainers.md 4.6). All are CPU generators: a GPU gets the same numbers. What cannot be given a generator (dropout)
draws from the default ones, which are seeded anew for each micro-step.
"""

from __future__ import annotations

import hashlib

import torch


def generator(purpose: str, *position: int | str) -> torch.Generator:
    """A fresh generator seeded from SHA-256 of (purpose, position).

    The hash keeps neighbouring seeds and steps unrelated, which `seed + step` would not.
    """
    return torch.Generator().manual_seed(_seed(purpose, *position))


def seed_default_generators(purpose: str, *position: int | str) -> None:
    """The same for the default generators of the CPU and of each device, since dropout takes no generator."""
    torch.manual_seed(_seed(purpose, *position))


def _seed(purpose: str, *position: int | str) -> int:
    text = "\0".join([purpose, *map(str, position)])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little") >> 1
