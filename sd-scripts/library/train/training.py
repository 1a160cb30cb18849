# SPDX-License-Identifier: Apache-2.0
"""One training from start to end: check, encode, load, then train and save (`loop`)."""

from __future__ import annotations

import contextlib
import dataclasses

import torch

from library import debug_hang, determinism
from library.cache.caching_phase import CachingPhase
from library.compute import attention
from library.flow import batch_loss
from library.metrics import Metrics
from library.options.options import Options
from library.signals import StopRequest, Wishes
from library.train import parts, preflight, processes
from library.train.loop import Loop
from library.train.preflight import Inputs
from library.train.processes import Processes
from library.train.stepper import Stepper
from library.world import World

TRAINING_TYPES = {"no": torch.float32, "bf16": torch.bfloat16}


def run(options: Options, own: World, *, stop: StopRequest, wishes: Wishes, metrics: Metrics) -> None:
    """Trains, from the start or from a state, until the final LoRA is written. `own`: which of how many processes
    this is.

    Raises TrainerError for problems that the user can fix, and SystemExit with 128 + signal after a stop.
    """
    debug_hang.arm(options.debug_hang, once=options.debug_hang_once, before=metrics.flush)
    if not own.first:
        # Only the first process samples and writes events, so the others do not prepare for it.
        options = dataclasses.replace(options, sample_prompts=None, logging_dir=None)
    inputs = preflight.check(options, processes=own.count)
    batch_loss.choose_threads(inputs.models.numbers)
    determinism.settle(deterministic=inputs.choices.deterministic)
    accelerator = processes.start_accelerator(own, mixed_precision=inputs.choices.mixed_precision)
    together = Processes(accelerator)
    # A drawn seed, and choices by free memory, may differ between processes.
    seed, choices = together.of_first((inputs.seed, inputs.choices))
    inputs = dataclasses.replace(inputs, seed=seed, choices=choices)
    dtype = TRAINING_TYPES[inputs.choices.mixed_precision]
    print(f"device: {accelerator.device}", flush=True)
    on_disk = options.cache_latents_to_disk or options.cache_text_encoder_outputs_to_disk
    with together.first_before_others() if on_disk else contextlib.nullcontext():
        encoded = CachingPhase(
            options=options,
            dataset=inputs.pictures,
            prompts=inputs.prompts,
            models=inputs.models,
            device=accelerator.device,
            dtype=dtype,
            stop=stop,
            metrics=metrics,
        ).run()
    metrics.report("loading")
    debug_hang.here("loading")
    loaded = parts.load(options, inputs, encoded, accelerator, dtype)
    stop.defer()
    if together.agree_to_stop(stop):
        together.leave()
        stop.leave_if_requested()
    _print_plan(options, inputs)
    stepper = Stepper(
        options,
        loaded,
        seed=inputs.seed,
        processes=together,
        dtype=dtype,
        choices=inputs.choices,
        resumed=bool(inputs.progress and inputs.progress.choices) and not options.replan,
        stop=stop,
    )
    loop = Loop(
        options,
        inputs,
        encoded,
        loaded,
        stepper,
        processes=together,
        stop=stop,
        wishes=wishes,
        metrics=metrics,
    )
    with attention.using(inputs.choices.attention, deterministic=inputs.choices.deterministic):
        loop.train()
    metrics.flush()
    together.close()


def _print_plan(options: Options, inputs: Inputs) -> None:
    """Prints the sizes of the training."""
    planned = inputs.plan
    sizes = ", ".join(str(config.batch_size) for config in inputs.dataset.configs)
    print(
        "starting to train\n"
        f"  pictures, with repeats: {inputs.dataset.repeated}\n"
        f"  batch size: {sizes}\n"
        f"  batches per process and epoch: {planned.batches_per_process}\n"
        f"  batches per process and step: {options.gradient_accumulation_steps}\n"
        f"  epochs: {planned.total_epochs}\n"
        f"  steps: {planned.total_steps}",
        flush=True,
    )
