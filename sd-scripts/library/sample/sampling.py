# SPDX-License-Identifier: Apache-2.0
"""Sample pictures: Euler's method from noise to picture along the family's own schedule, as in sd-scripts.

Sampling uses its own generators and does not change the training. If a sample fails, or all of them, a warning says
so and the training continues; a stop drops unfinished samples. Between samples nothing stays on the device: the
autoencoder (FLUX.1's has 335 MB) is moved to host memory, and the memory for decoding is released, since PyTorch
caches it in blocks of other sizes than the training uses.
"""

from __future__ import annotations

import functools
import itertools
import sys
import time
import traceback
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from library import atomic, debug_hang, randomness
from library.cache.caching_phase import EncodedPrompt
from library.compute.transformer import Transformer
from library.data import images
from library.data.prompts import Prompt
from library.errors import TrainerError
from library.family.models import Autoencoder, Text, TrainedEncoder
from library.family.port import BaseModel
from library.metrics import Metrics
from library.options.options import Options
from library.options.plan import Plan
from library.output import names
from library.report.report import Report
from library.sample import contact_sheet
from library.signals import Stopped, StopRequest

CPU = torch.device("cpu")


@dataclass(frozen=True, kw_only=True)
class TrainedModels:
    """The models that are being trained, their device, and the context in which they compute. `encoder`: the text
    encoder that gets a LoRA, if any. `base`: where the other models come from."""

    base: BaseModel
    transformer: Transformer
    encoder: TrainedEncoder | None
    device: torch.device
    autocast: Callable[[], AbstractContextManager[None]]


class Sampler:
    """Makes the samples of all prompts, and the contact sheet. It loads the autoencoder at the first sample and keeps
    it."""

    def __init__(
        self,
        *,
        options: Options,
        plan: Plan,
        seed: int,
        models: TrainedModels,
        prompts: list[EncodedPrompt],
        stop: StopRequest,
        metrics: Metrics,
        report: Report,
    ) -> None:
        self._options, self._plan, self._seed, self._prompts = options, plan, seed, prompts
        self._base, self._transformer, self._encoder = models.base, models.transformer, models.encoder
        self._device, self._autocast = models.device, models.autocast
        self._stop, self._metrics, self._report = stop, metrics, report
        self._autoencoder: Autoencoder | None = None
        self._denoised = 0

    def sample_all(self, *, epoch: int | None, step: int) -> None:
        """Writes one picture for each prompt to `output_dir/sample/`. A failure is a warning, never an exception.
        `epoch` is None for samples by steps."""
        date = time.strftime("%Y%m%d%H%M%S")
        self._denoised = 0
        self._metrics.report("sampling", **self._progress(0))
        if not self._try(self._load_autoencoder, "no samples are made"):
            return
        try:
            for index, encoded in enumerate(self._prompts):
                self._metrics.report("sampling", **self._progress(index))
                seed = encoded.prompt.seed
                name = names.sample_name(self._options, epoch=epoch, step=step, index=index, date=date, seed=seed)
                sample = functools.partial(self._sample, encoded, index, self._folder / name)
                self._try(sample, f"the sample {name} is skipped")
        except Stopped:
            return
        self._metrics.report("sampling", **self._progress(len(self._prompts)))
        self._try(functools.partial(self._update_sheet, step), "the contact sheet is not updated")

    @property
    def _folder(self) -> Path:
        return self._options.output_dir / "sample"

    def _try(self, action: Callable[[], None], otherwise: str) -> bool:
        """Runs an action and returns whether it succeeded. If it failed, prints the reason and the consequence,
        `otherwise`."""
        wrong = _what_goes_wrong(action)
        if wrong:
            self._report.warn(f"{otherwise}: {wrong}; the training continues")
        # Not before: the error's frames held tensors.
        if self._device.type == "cuda":
            torch.cuda.empty_cache()
        return wrong is None

    def _load_autoencoder(self) -> None:
        if self._autoencoder is None:
            self._autoencoder = self._base.load_autoencoder(CPU)

    def _sample(self, encoded: EncodedPrompt, index: int, path: Path) -> None:
        seed = encoded.prompt.seed
        drawn = (
            torch.Generator().manual_seed(seed)
            if seed is not None
            else randomness.generator("sample", self._seed, index)
        )
        latents = self._denoise(encoded, index, drawn)
        picture = images.to_picture(self._decode(latents)[0])
        path.parent.mkdir(exist_ok=True)
        label = contact_sheet.labelled(encoded.prompt.text)
        atomic.write_file(path, lambda part: picture.save(part, format="PNG", pnginfo=label), durable=False)
        self._report.say(f"sample: {path}")

    def _decode(self, latents: Tensor) -> Tensor:
        """Latents (1, C, h, w) -> pixels (1, 3, H, W). The autoencoder is on the device only during the call."""
        assert self._autoencoder is not None
        try:
            self._autoencoder.to(self._device)
            return self._autoencoder.decode(latents)
        finally:
            self._autoencoder.to(CPU)

    def _update_sheet(self, step: int) -> None:
        prompts = [encoded.prompt for encoded in self._prompts]
        if not prompts or not self._folder.is_dir():
            return
        contact_sheet.update(
            self._folder,
            self._options,
            self._plan,
            step=step,
            prompts=[prompt.text for prompt in prompts],
            largest=max(max(prompt.width, prompt.height) for prompt in prompts),
        )

    @torch.no_grad()
    def _denoise(self, encoded: EncodedPrompt, index: int, drawn: torch.Generator) -> Tensor:
        """Noise drawn from `drawn` -> latents (1, C, h, w). Raises Stopped."""
        prompt, size = encoded.prompt, self._base.autoencoder_size
        height, width = prompt.height // size.pixels, prompt.width // size.pixels
        x_BChw = torch.randn(1, size.channels, height, width, generator=drawn).to(self._device)
        tokens = height * width // self._base.transformer_size.latents_per_token
        levels = self._base.sample_levels(prompt.steps, tokens=tokens)
        positive = self._conditions(encoded.positive)
        negative = self._conditions(encoded.negative) if encoded.negative else None
        for level, following in itertools.pairwise(levels):
            if self._stop.requested:
                raise Stopped
            debug_hang.here("sampling")
            velocity = self._velocity(x_BChw, positive, level, prompt)
            if negative is not None:
                unwanted = self._velocity(x_BChw, negative, level, prompt)
                velocity = unwanted + prompt.cfg * (velocity - unwanted)
            x_BChw = x_BChw + (following - level) * velocity.float()
            self._denoised += 1
            self._metrics.report_piece("sampling", **self._progress(index))
        return x_BChw

    def _progress(self, index: int) -> dict[str, float]:
        return {"done": index, "total": len(self._prompts), "work": self._denoised}

    def _velocity(self, x_BChw: Tensor, texts: Text, level: Tensor, prompt: Prompt) -> Tensor:
        level_B = level.to(self._device).expand(1)
        with self._autocast():
            return self._transformer.velocity(x_BChw, texts, level_B, guidance=prompt.guidance)

    def _conditions(self, text: Text) -> Text:
        """A batch of this text alone, with what the current LoRA makes of it if a text encoder is trained."""
        texts = {name: tensor[None].to(self._device) for name, tensor in text.items()}
        if self._encoder is None:
            return texts
        with self._autocast():
            return self._encoder.condition(texts)


def _what_goes_wrong(action: Callable[[], None]) -> str | None:
    """Runs the action and returns None, or a sentence about its error. An unexpected error, a bug, also prints a
    traceback on stderr. Raises Stopped."""
    try:
        action()
    except Stopped:
        raise
    except torch.OutOfMemoryError:
        return "the GPU has too little memory left for it beside the training"
    except (TrainerError, OSError) as error:
        return str(error)
    except ModuleNotFoundError as error:  # diffusers, which only pictures need
        return f"{sys.executable} has no module {error.name}"
    except Exception as error:  # noqa: BLE001 (a failed sample never ends the run)
        traceback.print_exc()
        return f"{type(error).__name__}: {error}"
    return None
