# SPDX-License-Identifier: Apache-2.0
"""One training from start to end: check, encode, load, train (`loop`), save."""

from __future__ import annotations

import torch
from accelerate import Accelerator  # type: ignore[import-untyped]

from library import debug_hang, determinism, model, parts, preflight
from library.encoding import Encoding
from library.loop import Loop
from library.metrics import Metrics
from library.options import Options
from library.preflight import Inputs
from library.signals import StopRequest, Wishes
from library.stepper import Stepper

TRAINING_TYPES = {"no": torch.float32, "bf16": torch.bfloat16}


def run(options: Options, *, stop: StopRequest, wishes: Wishes, metrics: Metrics) -> None:
    """Trains, or goes on from a state, until the final LoRA is written.

    Raises TrainerError for what the user can put right, and SystemExit with 128 + signal after a stop.
    """
    debug_hang.arm(options.debug_hang, once=options.debug_hang_once, before=metrics.flush)
    inputs = preflight.check(options)
    model.choose_threads(inputs.flux_parameters)
    determinism.settle(deterministic=inputs.choices.deterministic)
    accelerator = Accelerator(
        mixed_precision=inputs.choices.mixed_precision,
        gradient_accumulation_steps=options.gradient_accumulation_steps,
    )
    dtype = TRAINING_TYPES[inputs.choices.mixed_precision]
    print(f"accelerator device: {accelerator.device}", flush=True)
    encoded = Encoding(
        options=options,
        dataset=inputs.pictures,
        prompts=inputs.prompts,
        t5_length=inputs.t5_length,
        device=accelerator.device,
        dtype=dtype,
        stop=stop,
        metrics=metrics,
    ).run()
    metrics.report("loading")
    debug_hang.here("loading")
    loaded = parts.load(options, inputs, encoded, accelerator, dtype)
    stop.defer()
    stop.leave_if_requested()
    _print_plan(options, inputs)
    stepper = Stepper(options, loaded, seed=inputs.seed, accelerator=accelerator, dtype=dtype)
    Loop(
        options, inputs, encoded, loaded, stepper, accelerator=accelerator, stop=stop, wishes=wishes, metrics=metrics
    ).train()
    metrics.flush()


def _print_plan(options: Options, inputs: Inputs) -> None:
    """The lines that programs read from sd-scripts' output (trainers.md 1.8)."""
    planned = inputs.plan
    sizes = ", ".join(str(config.batch_size) for config in inputs.dataset.configs)
    print(
        "running training / 学習開始\n"
        f"  num train images * repeats / 学習画像の数×繰り返し回数: {inputs.dataset.repeated}\n"  # noqa: RUF001
        f"  num batches per epoch / 1epochのバッチ数: {planned.batches_per_epoch}\n"
        f"  num epochs / epoch数: {planned.total_epochs}\n"
        f"  batch size per device / バッチサイズ: {sizes}\n"
        f"  gradient accumulation steps / 勾配を合計するステップ数 = {options.gradient_accumulation_steps}\n"
        f"  total optimization steps / 学習ステップ数: {planned.total_steps}",
        flush=True,
    )
