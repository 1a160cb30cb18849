# SPDX-License-Identifier: Apache-2.0
"""What --plan adds to the plan of --check_job: buckets, pictures, caches, and memory. No torch.

Everything is computed by the code that the training itself uses. The caches that exist count as valid, since only the
caching phase compares their seals.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from library.cache import needed
from library.cache.listing import Listing
from library.check import survey, tokenizer_check
from library.check.data_check import Data
from library.check.survey import Survey
from library.data import buckets
from library.data.buckets import Size
from library.data.dataset import batches_in
from library.errors import TrainerError
from library.family.port import Tokenizers
from library.memory import fit
from library.memory.fit import Subject
from library.options.options import Options

GPU_BYTES = "FLUXGYM_GPU_BYTES"
"""The environment variable with the memory of the GPU that the training will get, in bytes: the program that asks may
hide the GPUs."""


def of(options: Options, found: Survey, *, processes: int) -> dict[str, Any]:
    """The additional keys, for a job without problems."""
    assert found.data is not None
    subject = survey.subject(found, processes=processes)
    listed = fit.listing(options, subject, settled=found.settled)
    return {
        **{f"{limit.key}Reads": limit.tokens for limit in subject.models.text_limits},
        "clipTrained": options.trains_clip,
        "buckets": list(_buckets(found.data)),
        "pictureList": list(_pictures(found.data, _tokens(options, found, subject))),
        "caches": _caches(options, found, subject, listed),
        "memory": _memory(options, found, subject, listed),
    }


def _buckets(data: Data) -> Iterator[dict[str, Any]]:
    """Each dataset's buckets with their batches in one epoch."""
    for size, indices in data.dataset.groups:
        first = data.dataset.pictures[indices[0]]
        yield {
            "dataset": first.dataset,
            "size": _pair(first.bucket),
            "pictures": len(set(indices)),
            "repeatedPictures": len(indices),
            "batchSize": size,
            "batches": batches_in(size, indices),
        }


def _pictures(data: Data, tokens: Mapping[str, Sequence[int | None]]) -> Iterator[dict[str, Any]]:
    """All pictures that are encoded, in the order of `Data.encoded`. `tokens`: how many the text of each has, by
    encoder."""
    aside = set(map(id, data.validated.pictures)) if data.validated else set()
    for index, picture in enumerate(data.encoded):
        left, top = buckets.middle(picture.bucket, picture.resized)
        yield {
            "path": os.path.abspath(picture.path),
            "dataset": picture.dataset,
            "size": _pair(picture.upright),
            "resized": _pair(picture.resized),
            "bucket": _pair(picture.bucket),
            "crop": [left, top, left + picture.bucket.width, top + picture.bucket.height],
            "repeats": picture.repeats,
            "regularisation": picture.subset.is_reg,
            "validated": id(picture) in aside,
            **{f"{key}Tokens": of_pictures[index] for key, of_pictures in tokens.items()},
        }


def _pair(size: Size) -> list[int]:
    return [size.width, size.height]


def _tokens(options: Options, found: Survey, subject: Subject) -> dict[str, Sequence[int | None]]:
    """The tokens of each encoded picture's text, by encoder; None without tokenizers, which a job with all caches
    does not need."""
    assert found.data is not None
    pictures, keys = found.data.encoded, [limit.key for limit in subject.models.text_limits]
    tokenizers = found.tokenizers or _tokenizers(options, subject)
    if tokenizers is None:
        return {key: [None] * len(pictures) for key in keys}
    return {key: tokenizer_check.lengths(pictures, tokenizers, key) for key in keys}


def _tokenizers(options: Options, subject: Subject) -> Tokenizers | None:
    try:
        return subject.models.load_tokenizers(options)
    except TrainerError:
        return None


def _caches(options: Options, found: Survey, subject: Subject, listed: Listing) -> dict[str, int]:
    """What has to be encoded before the first step, and what that adds to the disk."""
    assert found.data is not None
    latents, texts = needed.planned(
        found.data.encoded,
        subject.models.cache_names,
        listed,
        latents_on_disk=options.cache_latents_to_disk,
        texts_on_disk=options.cache_text_encoder_outputs_to_disk,
    )
    return {
        "latents": latents,
        "texts": 0 if found.data.dataset.many_texts else texts,
        "bytes": sum(demand.count for _, demand in fit.caches_on_disk(options, subject, listed)),
    }


def _memory(options: Options, found: Survey, subject: Subject, listed: Listing) -> dict[str, Any] | None:
    """How the training is computed, and its estimated GPU memory; None if the GPU's memory is not known."""
    said = os.environ.get(GPU_BYTES, "")
    free = int(said) if said.isascii() and said.isdigit() else None
    run, budget, plan = fit.estimate(options, subject, settled=found.settled, free=free)
    if budget is None:
        return None
    problem = None
    resumed = found.resumed is not None and found.resumed.progress.choices is not None and not options.replan
    try:
        fit.check_gpu(options, subject, run, plan, budget, listed, resumed=resumed)
    except TrainerError as error:
        problem = str(error)
    return {
        "availableBytes": budget.chosen,
        "estimatedBytes": plan.footprint.total,
        "base": plan.tier.base,
        "checkpointedBlocks": plan.tier.checkpointed_blocks,
        "blocksToSwap": plan.tier.blocks_to_swap,
        "blocks": run.blocks,
        "problem": problem,
    }
