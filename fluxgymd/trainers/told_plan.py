# SPDX-License-Identifier: Apache-2.0
"""The plan in a trainer's answer (docs/trainer.md), and the same as messages of the interface. Pure."""

from collections.abc import Callable

import msgspec

from fluxgym.protocol.plan_messages import PlannedBucket, PlannedMemory, PlannedPicture, PlannedTraining, Size
from fluxgymd.trainers.port import Forecast

Pair = tuple[int, int]
"""A width and a height."""


class ToldBucket(msgspec.Struct, frozen=True, rename="camel"):
    dataset: int
    size: Pair
    pictures: int
    repeated_pictures: int
    batch_size: int
    batches: int

    def message(self) -> PlannedBucket:
        return PlannedBucket(
            part=self.dataset,
            size=_size(self.size),
            pictures=self.pictures,
            repeated_pictures=self.repeated_pictures,
            batch_size=self.batch_size,
            batches=self.batches,
        )


class ToldPicture(msgspec.Struct, frozen=True, rename="camel"):
    path: str
    dataset: int
    size: Pair
    resized: Pair
    bucket: Pair
    crop: tuple[int, int, int, int]
    repeats: int
    regularisation: bool
    validated: bool
    clip_tokens: int | None = None
    t5_tokens: int | None = None

    def message(self) -> PlannedPicture:
        return PlannedPicture(
            path=self.path,
            part=self.dataset,
            size=_size(self.size),
            resized=_size(self.resized),
            bucket=_size(self.bucket),
            left=self.crop[0],
            top=self.crop[1],
            repeats=self.repeats,
            regularisation=self.regularisation,
            validated=self.validated,
            clip_tokens=self.clip_tokens,
            t5_tokens=self.t5_tokens,
        )


class Caches(msgspec.Struct, frozen=True):
    latents: int
    texts: int
    bytes: int


class ToldMemory(msgspec.Struct, frozen=True, rename="camel"):
    available_bytes: int
    estimated_bytes: int
    base: str
    checkpointed_blocks: int
    blocks_to_swap: int
    blocks: int
    problem: str | None = None

    def message(self, worded: Callable[[str], str]) -> PlannedMemory:
        return PlannedMemory(
            available=self.available_bytes,
            estimated=self.estimated_bytes,
            base=self.base,
            checkpointed_blocks=self.checkpointed_blocks,
            swapped_blocks=self.blocks_to_swap,
            blocks=self.blocks,
            problem=None if self.problem is None else worded(f"{self.problem[:1].upper()}{self.problem[1:]}."),
        )


class ToldPlan(msgspec.Struct, frozen=True, rename="camel"):
    """What the training would save and, with --plan, do. A trainer of an earlier version tells only the sizes."""

    state_bytes: int
    """One state."""
    lora_bytes: int
    """One LoRA file."""
    loras: int | None = None
    loras_kept: int | None = None
    states: int | None = None
    samples: int = 0
    validations: int = 0
    pictures: int = 0
    repeated_pictures: int = 0
    batches_per_epoch: int = 0
    steps_per_epoch: int | None = None
    total_steps: int = 0
    total_epochs: int = 0
    first_step: int = 0
    clip_reads: int = 0
    t5_reads: int = 0
    buckets: tuple[ToldBucket, ...] = ()
    picture_list: tuple[ToldPicture, ...] = ()
    caches: Caches | None = None
    """None without --plan."""
    memory: ToldMemory | None = None

    @property
    def loras_at_once(self) -> int | None:
        """The most LoRAs that are on the disk at one time: an outdated one is removed after the next is written."""
        if self.loras is None or self.loras_kept is None:
            return None
        return min(self.loras, self.loras_kept + 1)

    def forecast(self, worded: Callable[[str], str]) -> Forecast | None:
        """What will happen, if the trainer was asked for that. `worded` puts a sentence into the job's words."""
        if self.caches is None or self.steps_per_epoch is None:
            return None
        return Forecast(
            training=PlannedTraining(
                pictures=self.pictures,
                repeated_pictures=self.repeated_pictures,
                batches_per_epoch=self.batches_per_epoch,
                steps_per_epoch=self.steps_per_epoch,
                total_steps=self.total_steps,
                total_epochs=self.total_epochs,
                loras=self.loras or 0,
                states=self.states or 0,
                samples=self.samples,
                validations=self.validations,
                lora_bytes=self.lora_bytes,
                state_bytes=self.state_bytes,
                clip_reads=self.clip_reads,
                t5_reads=self.t5_reads,
                cut_by_clip=_cut({each.path: each.clip_tokens for each in self.picture_list}, self.clip_reads),
                cut_by_t5=_cut({each.path: each.t5_tokens for each in self.picture_list}, self.t5_reads),
                latents_to_encode=self.caches.latents,
                texts_to_encode=self.caches.texts,
                memory=None if self.memory is None else self.memory.message(worded),
            ),
            buckets=tuple(bucket.message() for bucket in self.buckets),
            pictures=tuple(picture.message() for picture in self.picture_list),
            caches_bytes=self.caches.bytes,
            first_step=self.first_step,
        )


def _cut(tokens: dict[str, int | None], most: int) -> int | None:
    """How many files have a caption with more tokens than `most`; None if they are not known."""
    known = [count for count in tokens.values() if count is not None]
    return sum(count > most for count in known) if len(known) == len(tokens) else None


def _size(pair: Pair) -> Size:
    return Size(width=pair[0], height=pair[1])
