# SPDX-License-Identifier: Apache-2.0
"""Random choices depend on the seed and on what they are for, and on nothing else."""

from __future__ import annotations

import torch

from library import randomness


def test_random_choices_depend_on_their_place_alone() -> None:
    torch.manual_seed(1)
    first = torch.rand(4, generator=randomness.generator("noise", 1, 2))
    torch.rand(100)
    assert torch.equal(first, torch.rand(4, generator=randomness.generator("noise", 1, 2)))
    for other in (("noise", 2, 1), ("noise", 12), ("order", 1, 2)):
        purpose, *place = other
        assert not torch.equal(first, torch.rand(4, generator=randomness.generator(purpose, *place)))
