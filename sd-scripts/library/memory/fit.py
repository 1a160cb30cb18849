# SPDX-License-Identifier: Apache-2.0
"""Measures what this machine has room for, before anything is loaded: how to compute a training within the GPU's
memory (`tiers` decides), and whether the host's memory and the disks suffice (`needs` decides).

Only the question for the GPU's free memory imports torch: --plan estimates without it.
"""

from __future__ import annotations

import collections
import functools
import shutil
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from library import environment
from library.cache import needed
from library.cache.listing import Listing
from library.data.dataset import Dataset, Picture
from library.data.prompts import Prompt
from library.family.cache_names import MASK, CacheNames
from library.family.port import BaseModel
from library.family.sizes import FP32, BatchShape
from library.findings import warn
from library.memory import footprint, host_memory, needs, saved_sizes, tiers
from library.memory.footprint import Run, Sample, Tier
from library.memory.needs import Demand
from library.options.options import Options


@dataclass(frozen=True, kw_only=True)
class Subject:
    """What is trained. `pictures`: all those to encode; `prompts`: those of all samples; `processes`: how many train
    together, each with its own GPU."""

    dataset: Dataset
    pictures: tuple[Picture, ...]
    prompts: Sequence[Prompt]
    models: BaseModel
    processes: int


def fit(options: Options, subject: Subject, *, settled: Mapping[str, object], resumed: bool) -> Tier:
    """Chooses how to compute the training so that it fits, and prints the choice. `settled`: what is already decided,
    by the names of `Choices`.

    Raises TrainerError with the numbers if the GPU, the host or a disk has too little room.
    """
    free = _free_on_gpu(subject.processes)
    run, budget, plan = estimate(options, subject, settled=settled, free=free)
    listed = listing(options, subject, settled=settled)
    check_gpu(options, subject, run, plan, budget, listed, resumed=resumed)
    if budget is not None:
        print(tiers.line(run, plan, budget), flush=True)
    if sentence := tiers.advice_on_samples(plan, budget):
        warn(sentence)
    on_host = _on_host(options, subject, run, plan, gpu=free is not None)
    needs.check_host(on_host, free=host_memory.available())
    for folder, demands in by_disk(on_disk(options, subject, run, listed)):
        needs.check_disk(demands, free=shutil.disk_usage(folder).free)
    return plan.tier


def estimate(
    options: Options, subject: Subject, *, settled: Mapping[str, object], free: int | None
) -> tuple[Run, tiers.Budget | None, tiers.MemoryPlan]:
    """The training's sizes, the GPU memory that it may use (None: no limit), and how it is computed. `free`: free
    bytes on the GPU, None without one."""
    run = describe(options, subject, autocast=settled["mixed_precision"] == "bf16")
    budget = tiers.budget(options.vram, free=free)
    return run, budget, tiers.choose(run, settled=settled, budget=budget)


def check_gpu(
    options: Options,
    subject: Subject,
    run: Run,
    plan: tiers.MemoryPlan,
    budget: tiers.Budget | None,
    listed: Listing,
    *,
    resumed: bool,
) -> None:
    """Raises TrainerError with the numbers if the GPU has too little room for the training, or for the encoding
    before it. `listed`: the caches that there are; `resumed`: whether a state determines how the training is
    computed."""
    tiers.check(plan, budget, resumed=resumed)
    for what, count in _encoding(options, subject, run, listed):
        tiers.check_encoding(count, what, budget)


def describe(options: Options, subject: Subject, *, autocast: bool) -> Run:
    """The training's sizes, from which `footprint` estimates memory."""
    models, texts = subject.models, subject.models.text_size
    lora, encoder_lora = saved_sizes.lora_numbers(options, models)
    encoders = texts.trained if options.trains_clip else 0
    if subject.dataset.many_texts:
        encoders = texts.numbers
    return Run(
        model=models.transformer_size,
        lora=lora,
        encoder_lora=encoder_lora,
        copies=needs.copies(
            options.optimizer_type, average=options.ema_decay is not None, processes=subject.processes
        ),
        batch=_largest_batch(subject),
        autocast=autocast,
        encoders=encoders * (2 if autocast else 4),
        encoder_kept=texts.kept if options.trains_clip else 0,
        inputs_on_host=options.cpu_offload_checkpointing,
        sample=_largest_sample(subject),
    )


def _largest_sample(subject: Subject) -> Sample | None:
    if not subject.prompts:
        return None
    area = max(prompt.width * prompt.height for prompt in subject.prompts)
    return Sample(
        area=area,
        tokens=_tokens(subject, area),
        autoencoder=_autoencoder(subject),
        decoding=subject.models.autoencoder_size.decoding,
    )


def _tokens(subject: Subject, area: int) -> int:
    """How many tokens a picture of `area` pixels has together with its text."""
    models = subject.models
    pixels = models.autoencoder_size.pixels**2 * models.transformer_size.latents_per_token
    return area // pixels + models.text_size.tokens


def _autoencoder(subject: Subject) -> int:
    """Bytes of the autoencoder's weights; it always computes in fp32."""
    return subject.models.autoencoder_size.numbers * FP32


def _encoding(options: Options, subject: Subject, run: Run, listed: Listing) -> Iterable[tuple[str, int]]:
    """(what, bytes on the GPU) for each kind of encoding that certainly happens before the training. They happen one
    after the other."""
    names = subject.models.cache_names
    pictures = [
        picture
        for picture in subject.pictures
        if not (options.cache_latents_to_disk and listed(names.latents(picture)))
    ]
    if pictures:
        largest = max(picture.bucket.area for picture in pictures)
        yield "encoding the pictures", _autoencoder(subject) + largest * subject.models.autoencoder_size.encoding
    on_disk = options.cache_text_encoder_outputs_to_disk
    if subject.prompts or not (on_disk and all(listed(names.text(picture)) for picture in subject.pictures)):
        yield "encoding the captions", subject.models.text_size.numbers * run.width


def _largest_batch(subject: Subject) -> BatchShape:
    batches = (
        BatchShape(size=size, tokens=_tokens(subject, subject.dataset.pictures[indices[0]].bucket.area))
        for size, indices in subject.dataset.groups
        if indices
    )
    return max(batches, key=lambda batch: batch.size * batch.tokens)


def _free_on_gpu(processes: int) -> int | None:
    """Free bytes on this process's GPU; None without a GPU. Several processes must make the same choice whichever
    looks first, so they use the total memory of the smallest of their GPUs, less 3 % for the CUDA context."""
    import torch

    if not torch.cuda.is_available() or environment.wants_cpu():
        return None
    if processes == 1:
        return int(torch.cuda.mem_get_info()[0])
    number = min(processes, torch.cuda.device_count())
    return int(min(torch.cuda.get_device_properties(index).total_memory for index in range(number)) * 0.97)


def _on_host(options: Options, subject: Subject, run: Run, plan: tiers.MemoryPlan, *, gpu: bool) -> list[Demand]:
    """What is certainly in the host's memory at the same time. Frozen weights that are not swapped do not count: they
    are mapped from their file, and the kernel can reclaim their pages."""
    demands = [
        Demand(
            count=subject.processes * footprint.on_host(run, plan.tier) if gpu else 0,
            what="page-locked blocks and inputs",
        ),
        Demand(
            count=0 if gpu else subject.processes * (plan.footprint.training + plan.footprint.activations),
            what="the LoRA and the activations",
        ),
    ]
    if not options.cache_text_encoder_outputs_to_disk and not subject.dataset.many_texts:
        texts = {picture.text for picture in subject.pictures}
        demands.append(
            Demand(count=len(texts) * subject.models.text_size.cached, what=f"embeddings of {len(texts)} captions")
        )
    if not options.cache_latents_to_disk:
        count = sum(_latents(subject, picture, needed.wanted(picture)) for picture in subject.pictures)
        demands.append(Demand(count=count, what=f"latents of {len(subject.pictures)} pictures"))
    return demands


def listing(options: Options, subject: Subject, *, settled: Mapping[str, object]) -> Listing:
    """The caches that there are."""
    dtype = "torch.bfloat16" if settled["mixed_precision"] == "bf16" else "torch.float32"
    return Listing(options, subject.models, subject.pictures, dtype=dtype)


def on_disk(options: Options, subject: Subject, run: Run, listed: Listing) -> Iterable[tuple[Path, Demand]]:
    """(folder, what is written there): one LoRA and one state, and the caches that do not exist yet."""
    saved = needs.lora_and_state(
        run.lora + run.encoder_lora, optimizer=options.optimizer_type, save_precision=options.save_precision
    )
    where = f"--output_dir {options.output_dir}"
    yield options.output_dir, Demand(count=saved, what="one LoRA and one state", where=where)
    yield from caches_on_disk(options, subject, listed)


def caches_on_disk(options: Options, subject: Subject, listed: Listing) -> Iterable[tuple[Path, Demand]]:
    """(folder, what its caches do not list yet)."""
    names = subject.models.cache_names
    missing: dict[tuple[Path, str], int] = {}  # by file and array, since pictures may share a file
    if options.cache_text_encoder_outputs_to_disk:
        for file in {names.text(picture) for picture in subject.pictures}:
            if not listed(file).issuperset(names.text_arrays):
                missing[file, ""] = subject.models.text_size.cached
    if options.cache_latents_to_disk:
        for picture in subject.pictures:
            file = names.latents(picture)
            for group in needed.latent_groups(picture, functools.partial(_lists, listed(file), names)):
                missing[file, group + names.size_suffix(picture)] = _latents(subject, picture, [group])
    caches: collections.Counter[Path] = collections.Counter()
    for (file, _), count in missing.items():
        caches[file.parent] += count
    for folder, count in caches.items():
        yield folder, Demand(count=count, what="the caches", where=str(folder))


def _lists(arrays: frozenset[str], names: CacheNames, picture: Picture, group: str) -> bool:
    return arrays.issuperset(names.latent_arrays(picture, group))


def by_disk(demands: Iterable[tuple[Path, Demand]]) -> Iterable[tuple[Path, list[Demand]]]:
    """The demands grouped by disk, each group with one of its folders."""
    disks: dict[int, tuple[Path, list[Demand]]] = {}
    for folder, demand in demands:
        disks.setdefault(folder.stat().st_dev, (folder, []))[1].append(demand)
    return disks.values()


def _latents(subject: Subject, picture: Picture, groups: Collection[str]) -> int:
    """Bytes of these groups of a picture's arrays."""
    return needs.latents(
        picture.bucket.area,
        pixels=subject.models.autoencoder_size.pixels,
        channels=subject.models.autoencoder_size.channels,
        number=sum(group != MASK for group in groups),
        masked=MASK in groups,
    )
