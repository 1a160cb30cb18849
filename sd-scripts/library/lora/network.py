# SPDX-License-Identifier: Apache-2.0
"""Builds the LoRA of a run from the command line: its layers, their ranks, and their initial weights."""

from __future__ import annotations

from torch import nn

from library.errors import TrainerError
from library.files import safetensors_file
from library.lora.lora import LoRANetwork, sizes_in
from library.options.options import Options


def build(options: Options, *, transformer: nn.Module, clip: nn.Module | None, seed: int | None) -> LoRANetwork:
    """The LoRA on the transformer, and on CLIP-L if `clip` is given. If `seed` is None, it has shapes but no weights.

    Raises TrainerError if no layer is left to train, or if --network_weights do not fit.
    """
    weights = safetensors_file.load(options.network_weights) if options.network_weights else {}
    network = LoRANetwork(
        transformer=transformer,
        clip=clip,
        rank=options.network_dim,
        alpha=options.network_alpha,
        seed=seed,
        settings=options.network,
        dropout=options.network_dropout or 0.0,
        sizes=sizes_in(weights) if options.dim_from_weights else None,
    )
    parts = list(network.parts())
    if not parts:
        raise TrainerError(
            "--dim_from_weights: no layer in --network_weights belongs to this model; give a LoRA with kohya's keys"
            if options.dim_from_weights
            else "--network_args leave no layer to train",
            kind="command_line",
        )
    ranks = sorted({part.down.shape[0] for _, part in parts})
    print(f"LoRA: {len(parts)} modules, rank {', '.join(map(str, ranks))}", flush=True)
    if options.network_weights:
        taken = network.begin_with(weights, f"--network_weights: {options.network_weights}")
        print(f"{taken} of {len(parts)} modules start with the weights in {options.network_weights}", flush=True)
    return network
