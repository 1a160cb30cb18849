# SPDX-License-Identifier: Apache-2.0
"""A worker that runs flux_train_network.py of a checkout of kohya-ss/sd-scripts on weights made on the device.

    upstream.py CHECKOUT

Its complete `train` runs unchanged: flags, network, optimizer, data loader with its processes, loop. Only two parts
are replaced: the loading of models (the Flux gets the same numbers as our trainer's; text encoders and autoencoder
are never used, since everything is cached), and the noise scheduler, of which `shift` uses one number. The checkout
is not edited. Packages that a step does not use may be missing: see `stand_ins`.
"""

from __future__ import annotations

import os
import sys
from types import SimpleNamespace
from typing import Any

sys.path.insert(1, sys.argv[1])

import stand_ins

STOOD_IN = stand_ins.install(
    packages=("diffusers", "toml", "voluptuous", "imagesize", "cv2"),
    modules=("library.lpw_stable_diffusion", "library.sdxl_lpw_stable_diffusion"),
)

import torch  # noqa: E402
from job import Job, serve  # noqa: E402
from marks import Marks, Measured  # noqa: E402
from upstream_dataset import FOLDER, CachedPictures  # noqa: E402
from weights import RandomWeights  # noqa: E402

import flux_train_network  # noqa: E402
from library import flux_models, train_util  # noqa: E402

NOISE_LEVELS = 1000


class MarkedTrainer(flux_train_network.FluxNetworkTrainer):  # type: ignore[misc]
    """sd-scripts' trainer with a mark at the beginning of each step."""

    def __init__(self, params: flux_models.FluxParams, marks: Marks) -> None:
        super().__init__()
        self._params, self._marks = params, marks
        self.checksum = 0.0

    def load_target_model(self, args: Any, weight_dtype: torch.dtype, accelerator: Any) -> Any:
        with torch.device("meta"):
            flux = flux_models.Flux(self._params)
        shapes = {name: tuple(tensor.shape) for name, tensor in flux.state_dict().items()}
        weights = RandomWeights(shapes, device=accelerator.device, dtype=weight_dtype)
        flux.load_state_dict(dict(weights.items()), strict=True, assign=True)
        self.checksum = weights.checksum
        self.is_swapping_blocks = False
        if args.fp8_base:
            flux.to(torch.float8_e4m3fn)
        return "flux1", [NeverAsked(), NeverAsked()], NeverAsked(), flux

    def get_tokenize_strategy(self, args: Any) -> Any:
        del args
        self.is_schnell = False
        return NeverAsked()

    def get_tokenizers(self, tokenize_strategy: Any) -> list[Any]:
        return [tokenize_strategy, tokenize_strategy]

    def cache_text_encoder_outputs_if_needed(self, *_: Any) -> None:
        """All embeddings are cached."""

    def get_noise_scheduler(self, args: Any, device: Any) -> Any:
        del args, device
        return SimpleNamespace(config=SimpleNamespace(num_train_timesteps=NOISE_LEVELS))

    def process_batch(self, *arguments: Any, **options: Any) -> torch.Tensor:
        self._marks.step()
        loss: torch.Tensor = super().process_batch(*arguments, **options)
        self._marks.loss(loss)
        return loss


class NeverAsked(torch.nn.Module):
    """Takes the place of a text encoder or autoencoder, which the trainer passes around but never calls."""

    dtype = torch.bfloat16
    device = torch.device("cpu")


def run(job: Job) -> dict[str, Any]:
    os.environ[FOLDER] = job["pictures"]
    parser = flux_train_network.setup_parser()
    flags = [*job["flags"], "--dataset_class", f"{CachedPictures.__module__}.{CachedPictures.__name__}"]
    args = train_util.read_config_from_file(parser.parse_args(flags), parser)
    train_util.verify_command_line_training_args(args)
    marks = Marks(warm_up=job["warm_up"], steps=job["steps"])
    trainer = MarkedTrainer(flux_models.FluxParams(**job["params"]), marks)
    try:
        trainer.train(args)
    except Measured:
        return {**marks.result(), "checksum": trainer.checksum, "stood_in": STOOD_IN}
    raise RuntimeError("sd-scripts ended before all steps were done")


if __name__ == "__main__":
    serve(run)
