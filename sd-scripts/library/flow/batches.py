# SPDX-License-Identifier: Apache-2.0
# ruff: noqa: N815 (fields carry their tensors' shapes too)
"""Batches, prepared ahead of time by threads. Processes would not do: a SIGTERM to the scope reaches all of them, so
they would end before the main process has saved (measured, issue 2).

A batch is a function of its position, so it does not matter which thread makes it or when.
"""

from __future__ import annotations

import collections
import dataclasses
import random
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor

from library import debug_hang, randomness
from library.cache.latent_cache import LatentCache
from library.cache.texts import Texts
from library.data import captions
from library.data.dataset import Dataset, Picture
from library.data.epoch_order import epoch_batches
from library.family.models import Text
from library.flow import flow_matching
from library.options.options import Options


@dataclass(frozen=True, kw_only=True)
class Position:
    """A batch's position: epoch and batch count from 0; `step` (from 1) is the optimizer step that it belongs to."""

    epoch: int
    batch: int
    step: int


@dataclass(frozen=True, kw_only=True)
class Step:
    """Optimizer step `number` (from 1). `batches` counts those of all processes; `positions` has those of this
    process, which may have none at the end of an epoch."""

    number: int
    epoch: int
    batches: int
    positions: tuple[Position, ...]


@dataclass(frozen=True, kw_only=True)
class Batch:
    """The inputs of one forward pass, made on the CPU.

    `texts`: the tensors of the pictures' texts (`Texts.of`), each with a first dimension B. `mask_B1hw`, from 0 to
    1, is the weight of each latent in the loss, and None if no picture has a mask. `is_reg_B` (bool) marks
    regularisation pictures.
    """

    position: Position
    latents_BChw: Tensor
    noise_BChw: Tensor
    sigma_B: Tensor
    texts: Text
    is_reg_B: Tensor
    mask_B1hw: Tensor | None

    def pinned(self) -> Self:
        """A copy in page-locked memory, from which a GPU copies while the program continues."""
        return self._each(Tensor.pin_memory)

    def on(self, device: torch.device) -> Self:
        """A copy on the device. Pinned tensors are copied without waiting."""
        return self._each(lambda tensor: tensor.to(device, non_blocking=True))

    def _each(self, change: Callable[[Tensor], Tensor]) -> Self:
        changed: dict[str, Any] = {
            name: change(value) for name, value in vars(self).items() if isinstance(value, Tensor)
        }
        changed["texts"] = {name: change(value) for name, value in self.texts.items()}
        return dataclasses.replace(self, **changed)


def steps(
    *, first_step: int, last_step: int, batches_per_epoch: int, accumulation: int, processes: int = 1, rank: int = 0
) -> Iterator[Step]:
    """The optimizer steps after `first_step` up to `last_step`, as seen by process `rank` of `processes`.

    A step takes `accumulation` batches from each process, and fewer at the end of an epoch, since no step crosses
    epochs. The batches are dealt to the processes in turn, so a step has the same batches as in a single process that
    accumulates all of them.
    """
    per_step = accumulation * processes
    steps_per_epoch = -(-batches_per_epoch // per_step)
    for step in range(first_step, last_step):
        epoch, step_in_epoch = divmod(step, steps_per_epoch)
        start = step_in_epoch * per_step
        end = min(start + per_step, batches_per_epoch)
        own = range(start + rank, end, processes)
        yield Step(
            number=step + 1,
            epoch=epoch,
            batches=end - start,
            positions=tuple(Position(epoch=epoch, batch=batch, step=step + 1) for batch in own),
        )


class BatchSource:
    """Makes the batch at a position from the caches and the seed. `pin`: in page-locked memory, for a GPU."""

    def __init__(
        self,
        *,
        options: Options,
        seed: int,
        total_steps: int,
        dataset: Dataset,
        latents: LatentCache,
        texts: Texts,
        latents_per_token: int,
        pin: bool,
    ) -> None:
        self._latents_per_token = latents_per_token
        self._options, self._seed, self._total_steps, self._pin = options, seed, total_steps, pin
        self._dataset, self._latents, self._texts = dataset, latents, texts
        self._order: tuple[int, list[list[int]]] | None = None

    def batch(self, position: Position) -> Batch:
        debug_hang.here("batches", position.step)
        chosen = self._batches_of(position.epoch)[position.batch]
        pictures = [self._dataset.pictures[index] for index in chosen]
        drawn = [self._draw(picture, position, place) for place, picture in enumerate(pictures)]
        texts = [self._texts.of(picture, text) for picture, (text, _) in zip(pictures, drawn, strict=True)]
        latents_BChw = torch.stack(
            [
                self._latents.latents(picture, flipped=flipped)
                for picture, (_, flipped) in zip(pictures, drawn, strict=True)
            ]
        )
        generator = randomness.generator("noise", self._seed, position.epoch, position.batch)
        noise_BChw = torch.randn(latents_BChw.shape, generator=generator)
        tokens = latents_BChw.shape[2] * latents_BChw.shape[3] // self._latents_per_token
        sigma_B = flow_matching.NoiseLevels.of(self._options).draw(len(chosen), tokens=tokens, generator=generator)
        batch = Batch(
            position=position,
            latents_BChw=latents_BChw,
            noise_BChw=noise_BChw,
            sigma_B=sigma_B,
            texts={name: torch.stack([text[name] for text in texts]) for name in texts[0]},
            is_reg_B=torch.tensor([picture.subset.is_reg for picture in pictures]),
            mask_B1hw=self._mask(pictures, [flipped for _, flipped in drawn]),
        )
        return batch.pinned() if self._pin else batch

    def _draw(self, picture: Picture, position: Position, place: int) -> tuple[str, bool]:
        """The picture's text, and whether the picture is mirrored, as drawn for its place in the training."""
        generator = randomness.generator("picture", self._seed, position.epoch, position.batch, place)
        rng = random.Random(generator.initial_seed())
        flipped = picture.subset.flip_aug and rng.random() < 0.5
        at = captions.Place(epoch=position.epoch + 1, step=position.step - 1, total_steps=self._total_steps)
        return captions.draw(picture.caption, picture.subset.captions, at, rng), flipped

    def _mask(self, pictures: list[Picture], flipped: list[bool]) -> Tensor | None:
        if not any(picture.subset.alpha_mask for picture in pictures):
            return None
        masks = [
            self._latents.mask(picture, flipped=mirrored) for picture, mirrored in zip(pictures, flipped, strict=True)
        ]
        return torch.stack(masks)[:, None]

    def _batches_of(self, epoch: int) -> list[list[int]]:
        order = self._order
        if order is None or order[0] != epoch:
            order = (epoch, epoch_batches(self._dataset, seed=self._seed, epoch=epoch))
            self._order = order
        return order[1]


def prefetch(
    make: Callable[[Position], Batch], wanted: Iterable[Position], *, threads: int
) -> Generator[Batch, None, None]:
    """Batches in order, of which up to `threads` are made ahead. Closing the iterator waits for the batches in
    progress and drops the rest."""
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
