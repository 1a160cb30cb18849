# SPDX-License-Identifier: Apache-2.0
"""Sample pictures: Euler's method from noise to picture along Flux's own schedule (trainers.md 1.8).

Sampling draws from generators of its own and changes nothing about the training. A sample that fails is said on
stderr and left out; a stop drops what is not finished.
"""

from __future__ import annotations

import itertools
import sys
import time
import traceback
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import torch
from torch import Tensor, nn

from library import atomic, debug_hang, flow_matching, images, names, randomness, text_encoders
from library.autoencoder import PIXELS_PER_LATENT, Autoencoder
from library.encoding import EncodedPrompt, EncodedText
from library.flux_model import Flux, image_ids, pack, unpack
from library.metrics import Metrics
from library.options import Options
from library.prompts import Prompt
from library.signals import Stopped, StopRequest


class Sampler:
    """Makes the samples of all prompts. The autoencoder is loaded at the first sample and kept."""

    def __init__(
        self,
        *,
        options: Options,
        seed: int,
        transformer: Flux,
        clip: nn.Module | None,
        prompts: list[EncodedPrompt],
        device: torch.device,
        autocast: Callable[[], AbstractContextManager[None]],
        stop: StopRequest,
        metrics: Metrics,
        say: Callable[[str], None],
    ) -> None:
        self._options, self._seed, self._prompts = options, seed, prompts
        self._transformer, self._clip = transformer, clip
        self._device, self._autocast = device, autocast
        self._stop, self._metrics, self._say = stop, metrics, say
        self._autoencoder: Autoencoder | None = None
        self._denoised = 0

    def sample_all(self, *, epoch: int | None, step: int) -> None:
        """One picture for each prompt into `output_dir/sample/`."""
        folder = self._options.output_dir / "sample"
        date = time.strftime("%Y%m%d%H%M%S")
        self._denoised = 0
        for index, encoded in enumerate(self._prompts):
            self._metrics.report("sampling", **self._progress(index))
            name = names.sample_name(
                self._options, epoch=epoch, step=step, index=index, date=date, seed=encoded.prompt.seed
            )
            try:
                self._sample(encoded, index, folder / name)
            except Stopped:
                return
            except Exception:  # noqa: BLE001 (a failed sample never ends the run)
                traceback.print_exc()
                print(f"warning: the sample {name} failed; the training goes on", file=sys.stderr)

    def _sample(self, encoded: EncodedPrompt, index: int, path: Path) -> None:
        if self._autoencoder is None:
            self._autoencoder = Autoencoder(self._options.ae, self._device)
        seed = encoded.prompt.seed
        drawn = (
            torch.Generator().manual_seed(seed)
            if seed is not None
            else randomness.generator("sample", self._seed, index)
        )
        latents = self._denoise(encoded, index, drawn)
        picture = images.to_picture(self._autoencoder.decode(latents)[0])
        path.parent.mkdir(exist_ok=True)
        atomic.write_file(path, lambda part: picture.save(part, format="PNG"), durable=False)
        self._say(f"sample: {path}")

    @torch.no_grad()
    def _denoise(self, encoded: EncodedPrompt, index: int, drawn: torch.Generator) -> Tensor:
        """Noise -> latents (1, C, h, w)."""
        prompt = encoded.prompt
        height, width = prompt.height // PIXELS_PER_LATENT, prompt.width // PIXELS_PER_LATENT
        channels = self._transformer.config.packed_channels // 4
        noise = torch.randn(1, channels, height, width, generator=drawn)
        x_BIP = pack(noise).to(self._device)
        ids_I3 = image_ids(height, width, self._device)
        levels = schedule(prompt.steps, x_BIP.shape[1], guided=self._transformer.config.guidance)
        positive = self._conditions(encoded.positive)
        negative = self._conditions(encoded.negative) if encoded.negative else None
        for level, following in itertools.pairwise(levels):
            if self._stop.requested:
                raise Stopped
            debug_hang.here("sampling")
            velocity = self._velocity(x_BIP, ids_I3, positive, level, prompt)
            if negative is not None:
                unwanted = self._velocity(x_BIP, ids_I3, negative, level, prompt)
                velocity = unwanted + prompt.cfg * (velocity - unwanted)
            x_BIP = x_BIP + (following - level) * velocity.float()
            self._denoised += 1
            self._metrics.report_piece("sampling", **self._progress(index))
        return unpack(x_BIP, height, width)

    def _progress(self, index: int) -> dict[str, float]:
        return {"done": index, "total": len(self._prompts), "work": self._denoised}

    def _velocity(
        self, x_BIP: Tensor, ids_I3: Tensor, conditions: tuple[Tensor, Tensor], level: Tensor, prompt: Prompt
    ) -> Tensor:
        hidden_BTX, pooled_BV = conditions
        level_B = level.to(self._device).expand(1)
        guidance_B = torch.full((1,), prompt.guidance, device=self._device)
        with self._autocast():
            velocity: Tensor = self._transformer(x_BIP, ids_I3, hidden_BTX, pooled_BV, level_B, guidance_B)
        return velocity

    def _conditions(self, text: EncodedText) -> tuple[Tensor, Tensor]:
        """T5's tokens, and CLIP's vector: of the LoRA as it is now where CLIP-L is trained."""
        hidden_BTX = text.embedding.hidden_TX[None].to(self._device)
        if self._clip is None:
            return hidden_BTX, text.embedding.pooled_V[None].to(self._device)
        with self._autocast():
            pooled_BV = text_encoders.encode_clip(self._clip, text.clip_ids_T[None].to(self._device))
        return hidden_BTX, pooled_BV


def schedule(steps: int, tokens: int, *, guided: bool) -> Tensor:
    """Noise levels from 1 to 0, (steps + 1): shifted by size for dev (`guided`), even for schnell."""
    levels = torch.linspace(1, 0, steps + 1)
    return flow_matching.shift_sigma(levels, flow_matching.flux_shift(tokens)) if guided else levels
