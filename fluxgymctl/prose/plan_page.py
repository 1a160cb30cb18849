# SPDX-License-Identifier: Apache-2.0
"""The plan of a job as a page for people. Pure."""

import os
import textwrap
from collections.abc import Iterable, Iterator, Sequence

import msgspec

from fluxgym.errors import AnswerMissing
from fluxgym.protocol.methods import PlanReply
from fluxgym.protocol.plan_messages import (
    JobPlan,
    PlannedBucket,
    PlannedMemory,
    PlannedPicture,
    PlannedTime,
    PlannedTraining,
    Size,
)
from fluxgymctl.output import plain, table
from fluxgymctl.prose import words

WIDTH = 100
"""The columns for sentences where stdout is not a terminal."""
MOST_CUT = 10
"""How many cut captions are named."""


class WholePlan(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """All replies to one call of Plan."""

    plan: JobPlan
    buckets: list[PlannedBucket]
    pictures: list[PlannedPicture]


def gathered(replies: Iterable[PlanReply]) -> WholePlan:
    buckets: list[PlannedBucket] = []
    pictures: list[PlannedPicture] = []
    for reply in replies:
        if reply.bucket is not None:
            buckets.append(reply.bucket)
        if reply.picture is not None:
            pictures.append(reply.picture)
        if reply.plan is not None:
            return WholePlan(plan=reply.plan, buckets=buckets, pictures=pictures)
    raise AnswerMissing("The daemon ended its reply before sending the plan.")


def lines(name: str, told: WholePlan, *, width: int | None) -> Iterator[str]:
    """The page. `width`: columns of the terminal; None if stdout is not a terminal."""
    plan = told.plan
    if plan.problems:
        yield f"{name} would be refused."
        yield from _sentences(plan.problems, width)
    if plan.training is not None:
        yield from _training(name, plan.training, told)
        yield ""
        yield from _buckets(told.buckets, width)
        yield from _cut(plan.training, told.pictures, width)
    elif not plan.problems:
        yield f"{name} would be queued."
    facts = list(_facts(plan))
    if facts:
        size = max(len(label) for label, _ in facts) + 1
        yield ""
        for label, text in facts:
            yield from _wrapped(f"{label + ':':<{size}} {text}", width, indent=size + 1)
    if plan.warnings:
        yield ""
        yield "Warnings" if len(plan.warnings) > 1 else "Warning"
        yield from _sentences(plan.warnings, width)


def _training(name: str, training: PlannedTraining, told: WholePlan) -> Iterator[str]:
    pictures, steps = _count(training.pictures, "picture"), _count(training.total_steps, "step")
    epochs = _count(training.total_epochs, "epoch")
    yield f"{name}: {pictures}, {steps} in {epochs} of {_count(training.steps_per_epoch, 'step')}."
    made = [
        _count(training.loras, "LoRA") + f" of {words.size(training.lora_bytes)}",
        *([_count(training.states, "state") + f" of {words.size(training.state_bytes)}"] if training.states else []),
        *([_count(training.samples, "sample")] if training.samples else []),
        *([_count(training.validations, "validation")] if training.validations else []),
    ]
    aside = len({picture.path for picture in told.pictures if picture.validated})
    validated = (
        f" {_count(aside, 'picture')} of the dataset {'is' if aside == 1 else 'are'} only validated." if aside else ""
    )
    yield f"It makes {_listed(made)}.{validated}"


def _buckets(buckets: Sequence[PlannedBucket], width: int | None) -> list[str]:
    several = len({bucket.part for bucket in buckets}) > 1
    header = (*(["RESOLUTION"] if several else []), "TRAINED AT", "PICTURES", "WITH REPEATS", "BATCHES")
    rows = [
        (
            *([str(bucket.part + 1)] if several else []),
            _size(bucket.size),
            str(bucket.pictures),
            str(bucket.repeated_pictures),
            f"{bucket.batches} of {bucket.batch_size}" if bucket.batch_size > 1 else str(bucket.batches),
        )
        for bucket in buckets
    ]
    return table(header, rows, width=width)


def _cut(training: PlannedTraining, pictures: Sequence[PlannedPicture], width: int | None) -> Iterator[str]:
    """The captions that a text encoder cuts, the longest first."""
    tokens = {
        picture.path: (picture.t5_tokens or 0, picture.clip_tokens or 0)
        for picture in pictures
        if (picture.t5_tokens or 0) > training.t5_reads or (picture.clip_tokens or 0) > training.clip_reads
    }
    if training.cut_by_t5 is None or training.cut_by_clip is None:
        yield ""
        yield "The tokenizers are not needed, so the lengths of the captions are not known."
    if not tokens:
        return
    yield ""
    yield from _wrapped(
        f"T5, whose tokens the model reads, cuts {_count(training.cut_by_t5 or 0, 'caption')} at {training.t5_reads} "
        f"tokens. CLIP-L, which adds one vector, cuts {_count(training.cut_by_clip or 0, 'caption')} at "
        f"{training.clip_reads}.",
        width,
    )
    longest = sorted(tokens, key=lambda path: (tokens[path], path), reverse=True)
    rows = [(os.path.basename(path), *map(str, tokens[path])) for path in longest[:MOST_CUT]]
    yield from table(("CAPTION OF", "T5", "CLIP-L"), rows, width=width)
    if len(longest) > MOST_CUT:
        yield f"... and {len(longest) - MOST_CUT} more; --json lists all."


def _facts(plan: JobPlan) -> Iterator[tuple[str, str]]:
    training, disk = plan.training, plan.disk
    if training is not None:
        encoded = [
            *([_count(training.latents_to_encode, "picture")] if training.latents_to_encode else []),
            *([_count(training.texts_to_encode, "caption")] if training.texts_to_encode else []),
        ]
        yield "Caches", f"{_listed(encoded)} to encode first" if encoded else "all are there"
        yield "Memory", _memory(training.memory)
    if disk is not None:
        needs = [f"{words.size(disk.saves)} for LoRAs and states"]
        needs += [f"{words.size(disk.pictures)} for pictures"] if disk.pictures else []
        needs += [f"{words.size(disk.checkpoint)} for the checkpoint to begin with"] if disk.checkpoint else []
        needs += [f"{words.size(disk.caches)} for caches"] if disk.caches else []
        yield "Disk", f"{_listed(needs)}; {words.size(disk.free)} free"
    if training is not None:
        yield "Time", _time(plan.time)
    if not plan.problems:
        yield "Queue", _queue(plan)


def _memory(memory: PlannedMemory | None) -> str:
    if memory is None:
        return "not known, since no GPU is known"
    if memory.problem is not None:
        return memory.problem
    ways = ["an fp8 base" if memory.base == "fp8" else "an unquantised base"]
    if memory.checkpointed_blocks:
        ways.append(f"{memory.checkpointed_blocks} of {memory.blocks} blocks checkpointed")
    if memory.swapped_blocks:
        ways.append(f"{memory.swapped_blocks} swapped")
    return f"about {words.size(memory.estimated)} of {words.size(memory.available)}, with {_listed(ways)}"


def _time(time: PlannedTime | None) -> str:
    if time is None:
        return "not known, since nothing comparable has run on this machine"
    per_step = _seconds(time.seconds_per_step)
    if time.lowest != time.highest:
        per_step += f" ({_seconds(time.lowest)} to {_seconds(time.highest)})"
    source = f"{_count(time.jobs, 'job')} of {'other settings' if time.rough else 'the same shape'}"
    guess = "a rough guess: " if time.rough else ""
    return f"{guess}about {words.duration(time.seconds)} for the steps, at {per_step} a step, from {source}"


def _queue(plan: JobPlan) -> str:
    if not plan.ahead and not plan.running:
        return "it would start at once"
    waiting = f"{_count(plan.ahead, 'job')} {'waits' if plan.ahead == 1 else 'wait'}"
    return f"{_count(plan.running, 'job')} {'runs' if plan.running == 1 else 'run'}, {waiting} before it"


def _sentences(sentences: Sequence[str], width: int | None) -> Iterator[str]:
    for sentence in sentences:
        yield from _wrapped(f"- {sentence}", width, indent=2)


def _wrapped(text: str, width: int | None, *, indent: int = 0) -> list[str]:
    """The text in lines; a path is never broken."""
    return textwrap.wrap(
        plain(text),
        width=max(width or WIDTH, indent + 20),
        subsequent_indent=" " * indent,
        break_long_words=False,
        break_on_hyphens=False,
    )


def _seconds(seconds: float) -> str:
    return f"{seconds:.2f} s" if seconds < 10 else words.duration(seconds)


def _size(size: Size) -> str:
    return f"{size.width} x {size.height}"


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def _listed(items: Sequence[str]) -> str:
    return " and ".join([", ".join(items[:-1]), items[-1]] if len(items) > 1 else items)
