# SPDX-License-Identifier: Apache-2.0
# ruff: noqa: N815 (fields carry their tensors' shapes too)
"""Batches, prepared ahead by threads. Processes would die of the SIGTERM that a scope gets as a whole, before the
main one has saved (measured, issue 2).

A batch is a function of its position, so it does not matter which thread makes it or when.
"""

from __future__ import annotations

import collections
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import torch
from torch import Tensor

from library import debug_hang, flow_matching, randomness
from library.dataset import Dataset, epoch_batches
from library.latent_cache import LatentCache
from library.options import Options
from library.text_cache import TextCache


@dataclass(frozen=True, kw_only=True)
class Position:
    """Where a batch stands: epoch and batch from 0; `step` (from 1) is the optimizer step that it belongs to."""

    epoch: int
    batch: int
    step: int
    last_of_step: bool


@dataclass(frozen=True, kw_only=True)
class Batch:
    """What one forward pass needs, on the CPU. `clip_ids_BT` is there only if CLIP-L is trained."""

    position: Position
    latents_BChw: Tensor
    noise_BChw: Tensor
    sigma_B: Tensor
    hidden_BTX: Tensor
    pooled_BV: Tensor
    clip_ids_BT: Tensor | None
    is_reg_B: Tensor
    mask_B1hw: Tensor | None


def positions(*, first_step: int, last_step: int, batches_per_epoch: int, accumulation: int) -> Iterator[Position]:
    """The batches of the optimizer steps after `first_step` up to `last_step`.

    A step takes `accumulation` batches, and fewer at the end of an epoch, as in sd-scripts: no step crosses epochs.
    """
    steps_per_epoch = -(-batches_per_epoch // accumulation)
    for step in range(first_step, last_step):
        epoch, step_in_epoch = divmod(step, steps_per_epoch)
        start = step_in_epoch * accumulation
        end = min(start + accumulation, batches_per_epoch)
        for batch in range(start, end):
            yield Position(epoch=epoch, batch=batch, step=step + 1, last_of_step=batch == end - 1)


class BatchSource:
    """Makes the batch of a position from the caches and the seed."""

    def __init__(
        self,
        *,
        options: Options,
        seed: int,
        dataset: Dataset,
        latents: LatentCache,
        texts: TextCache,
        clip_ids: Callable[[int], Tensor] | None,
    ) -> None:
        self._options, self._seed, self._dataset = options, seed, dataset
        self._latents, self._texts, self._clip_ids = latents, texts, clip_ids
        self._order: tuple[int, list[list[int]]] | None = None

    def batch(self, position: Position) -> Batch:
        debug_hang.here("batches", position.step)
        chosen = self._batches_of(position.epoch)[position.batch]
        pictures = [self._dataset.pictures[index] for index in chosen]
        texts = [self._texts.embedding(picture) for picture in pictures]
        latents_BChw = torch.stack([self._latents.latents(picture) for picture in pictures])
        drawn = randomness.generator("noise", self._seed, position.epoch, position.batch)
        noise_BChw = torch.randn(latents_BChw.shape, generator=drawn)
        sigma_B = flow_matching.NoiseLevels.of(self._options).draw(
            len(chosen), tokens=latents_BChw.shape[2] * latents_BChw.shape[3] // 4, generator=drawn
        )
        return Batch(
            position=position,
            latents_BChw=latents_BChw,
            noise_BChw=noise_BChw,
            sigma_B=sigma_B,
            hidden_BTX=torch.stack([text.hidden_TX for text in texts]),
            pooled_BV=torch.stack([text.pooled_V for text in texts]),
            clip_ids_BT=torch.stack([self._clip_ids(index) for index in chosen]) if self._clip_ids else None,
            is_reg_B=torch.zeros(len(chosen), dtype=torch.bool),
            mask_B1hw=None,
        )

    def _batches_of(self, epoch: int) -> list[list[int]]:
        order = self._order
        if order is None or order[0] != epoch:
            order = (epoch, epoch_batches(self._dataset, seed=self._seed, epoch=epoch))
            self._order = order
        return order[1]


def prefetch(
    make: Callable[[Position], Batch], wanted: Iterable[Position], *, threads: int
) -> Generator[Batch, None, None]:
    """Batches in order, up to `threads` of them made ahead. Closing the iterator drops those not begun."""
    executor = ThreadPoolExecutor(max_workers=threads, thread_name_prefix="batches")
    remaining = iter(wanted)
    ahead: collections.deque[Future[Batch]] = collections.deque()
    try:
        while True:
            while len(ahead) <= threads and (position := next(remaining, None)) is not None:
                ahead.append(executor.submit(make, position))
            if not ahead:
                return
            yield ahead.popleft().result()
    finally:
        executor.shutdown(wait=True, cancel_futures=True)
