# SPDX-License-Identifier: Apache-2.0
"""Runs flux_train_network.py of a checkout of kohya-ss/sd-scripts in turns, on the draws of our trainer.

    upstream.py CHECKOUT DRAWS FLAGS ...          run by the Python that has sd-scripts' requirements

The checkout is not edited. The order of the pictures, the noise and the noise levels come from DRAWS. sd-scripts
itself reads latents and embeddings from the caches, and the run ends if they differ from our trainer's. The formulas
for the noisy latents and the timesteps are sd-scripts'. T5 is not loaded: every embedding is cached, and in fp32 it
would take 19 GB.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

sys.path.insert(1, sys.argv[1])

import torch
from gate import Gate
from torch.utils.data import RandomSampler

import flux_train_network
from library import flux_train_utils, flux_utils, train_util

Draw = dict[str, torch.Tensor]


class InTurns(flux_train_network.FluxNetworkTrainer):  # type: ignore[misc]
    """sd-scripts' trainer. Each step waits for its turn, and gets the noise and noise level of our trainer's step."""

    def __init__(self, gate: Gate, draws: list[Draw]) -> None:
        super().__init__()
        self._gate, self._draws = gate, iter(draws)

    def process_batch(self, batch: dict[str, Any], *arguments: Any, **options: Any) -> torch.Tensor:
        self._gate.turn()
        draw = next(self._draws)
        check_caches(batch, draw)
        noisy = flux_train_utils.get_noisy_model_input_and_timesteps

        def drawn(args: Any, scheduler: Any, latents: Any, noise: torch.Tensor, *rest: Any) -> Any:
            noise.copy_(draw["noise_BChw"])  # in place, since the target is computed from it too
            with mock.patch.object(torch, "rand", return_value=draw["sigma_B"]):  # `uniform` draws with it
                return noisy(args, scheduler, latents, noise, *rest)

        with mock.patch.object(flux_train_utils, "get_noisy_model_input_and_timesteps", drawn):
            loss: torch.Tensor = super().process_batch(batch, *arguments, **options)
        self._gate.loss(loss.item())
        return loss


def check_caches(batch: dict[str, Any], draw: Draw) -> None:
    """Ends the run if sd-scripts reads different numbers from the caches than our trainer."""
    pooled, hidden, *_ = batch["text_encoder_outputs_list"]
    read = {"latents_BChw": batch["latents"], "hidden_BTX": hidden, "pooled_BV": pooled}
    for name, tensor in read.items():
        if not torch.equal(tensor, draw[name]):
            raise SystemExit(f"sd-scripts reads other {name} from the caches")


def in_order_of(draws: list[Draw]) -> Callable[[RandomSampler], Iterator[int]]:
    """A sampler's iterator that gives a data set in the order of the draws. A batch is recognized by its latents."""

    def order(sampler: RandomSampler) -> Iterator[int]:
        latents = [batch["latents"] for batch in map(sampler.data_source.__getitem__, range(len(sampler)))]
        for draw in draws:
            yield next(index for index, own in enumerate(latents) if torch.equal(own, draw["latents_BChw"]))

    return order


def no_t5(*_: Any, **__: Any) -> torch.nn.Module:
    """A tiny stand-in for T5, which the trainer passes around but never calls."""
    from transformers import T5Config, T5EncoderModel

    return T5EncoderModel(T5Config(vocab_size=8, d_model=8, d_kv=8, d_ff=8, num_layers=1, num_heads=1))


def main(draws_file: Path, flags: list[str]) -> None:
    draws: list[Draw] = torch.load(draws_file, weights_only=True)
    flux_utils.load_t5xxl = no_t5
    train_util.BaseDataset.shuffle_buckets = lambda _: None  # the order comes from the draws
    parser = flux_train_network.setup_parser()
    args = train_util.read_config_from_file(parser.parse_args(flags), parser)
    train_util.verify_command_line_training_args(args)
    with mock.patch.object(RandomSampler, "__iter__", in_order_of(draws)):
        InTurns(Gate(), draws).train(args)


if __name__ == "__main__":
    main(Path(sys.argv[2]), sys.argv[3:])
