# SPDX-License-Identifier: Apache-2.0
"""The order of the pictures in an epoch, and their batches."""

from __future__ import annotations

import collections
import itertools
from pathlib import Path

from library.data.buckets import BucketRules, Size
from library.data.dataset import Dataset, Picture
from library.data.dataset_config import DatasetConfig, SubsetConfig
from library.data.epoch_order import epoch_batches


def dataset(count: int, repeats: int, batch_size: int, *, sides: tuple[int, ...] = (64,)) -> Dataset:
    """`count` pictures of each width in `sides`."""
    subset = SubsetConfig(image_dir=Path("pictures"), num_repeats=repeats)
    pictures = [
        Picture(
            path=Path(f"{side}-{index}"),
            size=Size(side, 64),
            rotation=1,
            bucket=Size(side, 64),
            resized=Size(side, 64),
            caption="",
            caption_path=None,
            repeats=repeats,
            dataset=0,
            subset=subset,
            interpolation=None,
        )
        for side in sides
        for index in range(count)
    ]
    config = DatasetConfig(buckets=BucketRules(resolution=Size(64, 64)), batch_size=batch_size, subsets=(subset,))
    return Dataset(configs=(config,), pictures=tuple(pictures))


def test_a_batch_has_one_size_and_batches_of_all_sizes_are_mixed() -> None:
    given = dataset(5, 3, 4, sides=(64, 128))
    order = epoch_batches(given, seed=1, epoch=0)
    sizes = [{given.pictures[index].bucket.width for index in batch} for batch in order]
    assert [len(size) for size in sizes] == [1] * 8
    assert sizes not in (sorted(sizes, key=str), sorted(sizes, key=str, reverse=True))
    assert sorted(len(batch) for batch in order) == [3, 3, 4, 4, 4, 4, 4, 4]
    assert collections.Counter(itertools.chain(*order)) == dict.fromkeys(range(10), 3)
    assert given.batches_per_epoch == 8


def test_an_epoch_has_every_repeat_once_in_an_order_of_its_own() -> None:
    given = dataset(5, 3, 4)
    orders = [epoch_batches(given, seed=1, epoch=epoch) for epoch in (0, 1)]
    for order in orders:
        assert [len(batch) for batch in order] == [4, 4, 4, 3]
        assert collections.Counter(itertools.chain(*order)) == dict.fromkeys(range(5), 3)
    assert orders[0] != orders[1]
    assert orders[0] == epoch_batches(given, seed=1, epoch=0)
    assert orders[0] != epoch_batches(given, seed=2, epoch=0)
    assert given.batches_per_epoch == 4
