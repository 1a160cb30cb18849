# SPDX-License-Identifier: Apache-2.0
"""The order of an epoch, which depends only on (seed, epoch)."""

from __future__ import annotations

import torch

from library import randomness
from library.data.dataset import Dataset


def epoch_batches(dataset: Dataset, *, seed: int, epoch: int) -> list[list[int]]:
    """The batches of one epoch (from 0), as indices of pictures. All repeats within each bucket are permuted, and
    then the batches of all buckets."""
    drawn = randomness.generator("order", seed, epoch)
    batches = []
    for size, indices in dataset.groups:
        order = torch.randperm(len(indices), generator=drawn).tolist()
        batches += [[indices[place] for place in order[start : start + size]] for start in range(0, len(order), size)]
    if len(dataset.groups) > 1:
        batches = [batches[place] for place in torch.randperm(len(batches), generator=drawn).tolist()]
    return batches
