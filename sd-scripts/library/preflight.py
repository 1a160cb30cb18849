# SPDX-License-Identifier: Apache-2.0
"""All that can be refused is refused here, from headers and small files, before anything heavy is loaded."""

from __future__ import annotations

import dataclasses
import math
import os
import random
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from library import (
    attention,
    choices,
    compilation,
    dataset,
    dataset_config,
    flux_model,
    loading,
    output,
    plan,
    prompts,
    rehearsal,
    room,
    safetensors_file,
    states,
    swap_order,
    validation,
    variants,
)
from library.autoencoder import read_config as read_autoencoder_config
from library.choices import Choices
from library.dataset import Dataset
from library.dataset_keys import KEYS
from library.errors import TrainerError
from library.flux_model import SINGLE_FILE_PREFIX, FluxConfig
from library.options import Options
from library.plan import Plan
from library.prompts import Prompt
from library.room import CHANNELS_PER_TOKEN, Subject
from library.states import Progress
from library.text_encoders import clip_config, t5_config

T5_LENGTH_DEV, T5_LENGTH_SCHNELL = 512, 256


@dataclass(frozen=True, kw_only=True)
class Inputs:
    """A run whose parts fit together. `state` is the folder that it goes on from, `progress` what that tells,
    `first_step` the steps done."""

    dataset: Dataset
    validated: Dataset | None
    plan: Plan
    prompts: list[Prompt]
    flux: FluxConfig
    flux_parameters: int
    t5_length: int
    state: Path | None
    progress: Progress | None
    first_step: int
    seed: int
    choices: Choices

    @property
    def pictures(self) -> Dataset:
        """All that has to be encoded: what is trained and what is validated."""
        trained = (picture for picture in self.dataset.pictures if picture.repeats)
        aside = self.validated.pictures if self.validated else ()
        return dataclasses.replace(self.dataset, pictures=(*trained, *aside))


def check(options: Options, *, processes: int = 1) -> Inputs:
    """Raises TrainerError for the first thing that is wrong. `processes`: how many train together."""
    output.prepare(options)
    flux, flux_parameters = _check_models(options)
    found, validated = validation.split(_find_dataset(options))
    found = dataset.balanced(found)
    variant = variants.identify(options.pretrained_model_name_or_path.name, guided=flux.guidance)
    print(f"base model: {variant.name}", flush=True)
    for sentence in variants.advice(variant, options):
        _warn(sentence)
    planned = plan.make(options, batches_per_epoch=found.batches_per_epoch, processes=processes)
    rehearsal.rehearse(options, total_steps=planned.total_steps)
    state = states.find(options.resume) if options.resume else None
    progress = states.read_progress(state, steps_per_epoch=planned.steps_per_epoch) if state else None
    wanted = prompts.read(options.sample_prompts) if options.sample_prompts is not None else []
    subject = Subject(
        dataset=found,
        pictures=(*found.pictures, *(validated.pictures if validated else ())),
        prompts=wanted,
        flux=flux,
        t5_length=options.t5xxl_max_token_length or (T5_LENGTH_DEV if flux.guidance else T5_LENGTH_SCHNELL),
        processes=processes,
    )
    return Inputs(
        dataset=found,
        validated=validated,
        plan=planned,
        prompts=wanted,
        flux=flux,
        flux_parameters=flux_parameters,
        t5_length=subject.t5_length,
        state=state,
        progress=progress,
        first_step=first_step(options, planned, progress),
        seed=_seed(options, progress),
        choices=_choose(options, subject, progress, steps=planned.total_steps, sizes=len(found.batch_shapes)),
    )


def _choose(options: Options, subject: Subject, progress: Progress | None, *, steps: int, sizes: int) -> Choices:
    """How the run is computed: what the command line or a state says, and what fits this machine."""
    flux = subject.flux
    blocks = flux.double_blocks + flux.single_blocks
    wanted = choices.asked(options, blocks=blocks)
    depths = {"double_blocks": flux.double_blocks, "single_blocks": flux.single_blocks}
    number = swap_order.asked(options.blocks_to_swap, split_mode=options.split_mode, **depths)
    if number is not None:
        wanted["blocks_to_swap"] = number
    values = choices.settle(wanted, progress.choices if progress else None, replan=options.replan, blocks=blocks)
    if values.get("compile") != wanted.get("compile", values.get("compile")):
        _warn("--compile is not used: the state was made with blocks that are not compiled; --replan compiles them")
    values = _choose_kernels(values, steps=steps, sizes=sizes)
    if wrong := swap_order.misfit(values.get("blocks_to_swap", 0), **depths):
        raise TrainerError(wrong)
    resumed = progress is not None and progress.choices is not None and not options.replan
    tier = room.fit(options, subject, settled=values, resumed=resumed)
    return Choices(**{**values, **dataclasses.asdict(tier)})


def _choose_kernels(values: dict[str, Any], *, steps: int, sizes: int) -> dict[str, Any]:
    """The kernel of the attention, and whether blocks are compiled, where neither the command line nor a state says.

    Raises TrainerError where the kernel cannot be used here.
    """
    gpu = torch.cuda.is_available() and "ACCELERATE_USE_CPU" not in os.environ
    circumstances: attention.Circumstances = {
        "capability": torch.cuda.get_device_capability() if gpu else None,
        "sixteen_bits": values["mixed_precision"] == "bf16",
        "deterministic": values.get("deterministic", False),
    }
    values = {
        "attention": attention.choose(**circumstances),
        "compile": compilation.choose(gpu=gpu, steps=steps, sizes=sizes),
        **values,
    }
    if why := attention.obstacle(values["attention"], **circumstances):
        kernel = values["attention"]
        raise TrainerError(f"--attention {kernel} {why}; use auto, and --replan if the state asks for it")
    return values


def _find_dataset(options: Options) -> Dataset:
    """--dataset_config stands over --train_data_dir. The command line's values hold where the file has none."""
    said = dataclasses.asdict(options) | {
        "batch_size": options.train_batch_size,
        "num_repeats": options.dataset_repeats,
        "caption_extension": options.caption_extention or options.caption_extension,
    }
    defaults = {key: said[key] for key in KEYS if said.get(key) is not None}
    if options.dataset_config is not None:
        configs = dataset_config.read(options.dataset_config, defaults=defaults)
    elif options.train_data_dir is None:
        raise TrainerError("--dataset_config or --train_data_dir has to say which pictures are trained")
    else:
        configs = dataset_config.of_folders(options.train_data_dir, options.reg_data_dir, defaults=defaults)
    found = dataset.find(configs)
    if found.many_texts and (options.cache_text_encoder_outputs or options.cache_text_encoder_outputs_to_disk):
        raise TrainerError(
            "captions that change (shuffle_caption, caption_tag_dropout_rate, token_warmup_step, enable_wildcard) "
            "cannot be cached: leave --cache_text_encoder_outputs out, or these"
        )
    return found


def _check_models(options: Options) -> tuple[FluxConfig, int]:
    path = options.pretrained_model_name_or_path
    in_file = safetensors_file.read_shapes(path, "--pretrained_model_name_or_path")
    shapes = safetensors_file.part(in_file, SINGLE_FILE_PREFIX)
    checks = (
        ("--clip_l", options.clip_l, clip_config, "the CLIP-L text encoder"),
        ("--t5xxl", options.t5xxl, t5_config, "the T5 text encoder"),
        ("--ae", options.ae, read_autoencoder_config, "Flux's autoencoder"),
    )
    try:
        flux = flux_model.read_config(shapes)
    except (KeyError, ValueError) as error:
        raise TrainerError(
            f"--pretrained_model_name_or_path: {path} is not a Flux transformer: it lacks {error}"
        ) from error
    used = loading.shapes_of(path, flux)  # wrong keys: told now, and not behind all pictures and captions
    if unused := sorted(shapes.keys() - used.keys()):
        _warn(f"{path} has {len(unused)} keys that are none of Flux's, which are not used, as {unused[0]}")
    widths = {}
    for flag, file, read, what in checks:
        file_shapes = safetensors_file.read_shapes(file, flag)
        try:
            widths[flag] = read(file_shapes)
        except (KeyError, ValueError) as error:
            raise TrainerError(f"{flag}: {file} is not {what}: it lacks {error}") from error
    if wrong := options.network.misfit(double_blocks=flux.double_blocks, single_blocks=flux.single_blocks):
        raise TrainerError(wrong)
    if options.network_weights:
        safetensors_file.read_shapes(options.network_weights, "--network_weights")
    _check_widths(flux, widths, path)
    return flux, sum(map(math.prod, used.values()))


def _check_widths(flux: FluxConfig, found: dict[str, dict[str, Any]], path: Path) -> None:
    """`found`: the configs of the other models, by flag."""
    for flag, name, right in (
        ("--clip_l", "hidden_size", flux.vector_width),
        ("--t5xxl", "d_model", flux.text_width),
        ("--ae", "latent_channels", flux.packed_channels // CHANNELS_PER_TOKEN),  # FLUX.2's, for one, has more
    ):
        if found[flag][name] != right:
            raise TrainerError(f"{flag} has {name} {found[flag][name]}, but {path} was made for {right}")


def first_step(options: Options, planned: Plan, progress: Progress | None) -> int:
    """Steps that are done already. A state's counter stands over --initial_epoch.

    Raises TrainerError where the state is past the end that is asked for, or of another number of processes.
    """
    if progress is None:
        if not options.initial_epoch:
            return 0
        if options.initial_epoch > planned.total_epochs:
            raise TrainerError(
                f"--initial_epoch {options.initial_epoch} is past the last epoch, {planned.total_epochs}"
            )
        return (options.initial_epoch - 1) * planned.steps_per_epoch
    if progress.processes not in (None, planned.processes) and not options.replan:
        raise TrainerError(
            f"--resume: the state was made by {progress.processes} processes, and this run has {planned.processes}, "
            f"so its steps would have other batches; start {progress.processes}, or add --replan: the training goes "
            "on then, but does not end as it would have without the interruption"
        )
    if progress.step > planned.total_steps:
        raise TrainerError(
            f"--resume: the state is at step {progress.step}, but this run ends at step {planned.total_steps}; "
            "ask for more epochs or steps"
        )
    if progress.total_steps not in (None, planned.total_steps):
        _warn(
            f"the state was made on the way to step {progress.total_steps}, and this run ends at step "
            f"{planned.total_steps}; the learning rate's schedule is that of {planned.total_steps} steps from here on"
        )
    if progress.steps_per_epoch != planned.steps_per_epoch:
        _warn(
            f"an epoch had {progress.steps_per_epoch} steps when the state was saved and has "
            f"{planned.steps_per_epoch} now; the run goes on at step {progress.step}"
        )
    if options.initial_epoch and (options.initial_epoch - 1) * planned.steps_per_epoch != progress.step:
        _warn(f"--initial_epoch {options.initial_epoch} is not used: the state is at step {progress.step}")
    return progress.step


def _seed(options: Options, progress: Progress | None) -> int:
    """--seed, else the state's, else a new one."""
    if progress is not None and progress.seed is not None:
        if options.seed not in (None, progress.seed):
            _warn(f"--seed {options.seed} is not the state's, {progress.seed}: the run will not be the same")
        return progress.seed if options.seed is None else options.seed
    return random.SystemRandom().randrange(2**32) if options.seed is None else options.seed


def _warn(sentence: str) -> None:
    print(f"warning: {sentence}", file=sys.stderr)
