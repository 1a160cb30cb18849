# SPDX-License-Identifier: Apache-2.0
"""No step makes the program wait for the GPU: PyTorch raises an error if one does. Needs no diffusers."""

from __future__ import annotations

from typing import Any

import numpy
import pytest
import torch
from safetensors import safe_open

from library.train.stepper import Stepper
from tests.sd_scripts.in_process import run
from tests.sd_scripts.running import Settings

# For the pictures of `make_pictures`, which are trained as squares of 64 pixels.
WIDTH, HEIGHT, LATENT, CHANNELS, T5_TOKENS = 80, 64, 8, 16, 16


def with_random_caches(settings: Settings) -> Settings:
    """Writes caches of random numbers in place of the encoders' outputs."""
    with safe_open(settings.models.folder / "flux1-dev.safetensors", framework="pt") as file:
        vector, text = (file.get_slice(f"{key}.weight").get_shape()[1] for key in ("vector_in.in_layer", "txt_in"))
    drawn = numpy.random.default_rng(0)
    for picture in settings.pictures.glob("*.png"):
        suffix = f"_{LATENT}x{LATENT}"
        latents = {
            f"latents{suffix}": drawn.normal(size=(CHANNELS, LATENT, LATENT)).astype(numpy.float32),
            f"original_size{suffix}": numpy.array([WIDTH, HEIGHT]),
            f"crop_ltrb{suffix}": numpy.array([8, 0, WIDTH - 8, HEIGHT]),
        }
        texts = {
            "l_pooled": drawn.normal(size=vector).astype(numpy.float32),
            "t5_out": drawn.normal(size=(T5_TOKENS, text)).astype(numpy.float32),
            "txt_ids": numpy.zeros((T5_TOKENS, 3), dtype=numpy.float32),
            "t5_attn_mask": numpy.ones(T5_TOKENS, dtype=numpy.int64),
            "apply_t5_attn_mask": numpy.array(False),
        }
        stem = picture.with_suffix("")
        numpy.savez(f"{stem}_{WIDTH:04d}x{HEIGHT:04d}_flux.npz", **latents)  # type: ignore[arg-type]
        numpy.savez(f"{stem}_flux_te.npz", **texts)  # type: ignore[arg-type]
    return settings.plus("--cache_latents_to_disk --cache_text_encoder_outputs --cache_text_encoder_outputs_to_disk")


@pytest.mark.parametrize("compiled", ["--no_compile", "--compile"])
@pytest.mark.parametrize("checkpointed", ["", "--gradient_checkpointing"])
def test_steps_do_not_wait(
    compiled: str, checkpointed: str, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Steps are checked from the second on, since the first compiles and fills the allocators' caches."""
    watched = 0
    for name in ("micro_step", "finish"):
        method = getattr(Stepper, name)

        def strict(stepper: Stepper, *arguments: Any, _method: Any = method, **keywords: Any) -> Any:
            nonlocal watched
            watched += 1
            torch.cuda.set_sync_debug_mode("error" if watched > 4 else "default")
            try:
                return _method(stepper, *arguments, **keywords)
            finally:
                torch.cuda.set_sync_debug_mode("default")

        monkeypatch.setattr(Stepper, name, strict)
    cached = with_random_caches(settings)
    outcome = run(cached.plus(f"--mixed_precision bf16 --network_train_unet_only {compiled} {checkpointed}"))
    assert outcome.error is None
    assert watched == 2 * len(outcome.steps) > 4
