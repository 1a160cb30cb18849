# SPDX-License-Identifier: Apache-2.0
"""The types of a plan: what would happen to a job if it were submitted (see messages.py)."""

from fluxgym.protocol.messages import Message


class Size(Message, frozen=True, kw_only=True):
    width: int
    height: int


class PlannedPicture(Message, frozen=True, kw_only=True):
    path: str
    part: int
    size: Size
    resized: Size
    bucket: Size
    left: int
    top: int
    repeats: int
    regularisation: bool
    validated: bool
    clip_tokens: int | None = None
    t5_tokens: int | None = None


class PlannedBucket(Message, frozen=True, kw_only=True):
    part: int
    size: Size
    pictures: int
    repeated_pictures: int
    batch_size: int
    batches: int


class PlannedMemory(Message, frozen=True, kw_only=True):
    available: int
    estimated: int
    base: str
    checkpointed_blocks: int
    swapped_blocks: int
    blocks: int
    problem: str | None = None


class PlannedTraining(Message, frozen=True, kw_only=True):
    pictures: int
    repeated_pictures: int
    batches_per_epoch: int
    steps_per_epoch: int
    total_steps: int
    total_epochs: int
    loras: int
    states: int
    samples: int
    validations: int
    lora_bytes: int
    state_bytes: int
    clip_reads: int
    t5_reads: int
    cut_by_clip: int | None = None
    cut_by_t5: int | None = None
    latents_to_encode: int
    texts_to_encode: int
    memory: PlannedMemory | None = None


class PlannedDisk(Message, frozen=True, kw_only=True):
    saves: int
    pictures: int
    caches: int
    free: int
    checkpoint: int | None = None


class PlannedTime(Message, frozen=True, kw_only=True):
    seconds_per_step: float
    lowest: float
    highest: float
    jobs: int
    rough: bool
    seconds: float


class JobPlan(Message, frozen=True, kw_only=True):
    problems: list[str]
    warnings: list[str]
    training: PlannedTraining | None = None
    disk: PlannedDisk | None = None
    time: PlannedTime | None = None
    ahead: int
    running: int
