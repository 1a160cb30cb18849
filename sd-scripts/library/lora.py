# SPDX-License-Identifier: Apache-2.0
"""LoRA in kohya's layout (networks.lora_flux): W' = W + (alpha / rank) up @ down, on fused projections as they lie.

Keys are `lora_unet_` + module name (or `lora_te1_text_model_` for CLIP-L) with `_` for `.`, each with
`.lora_down.weight` (rank, in), `.lora_up.weight` (out, rank) and `.alpha`; trainers.md 1.6 and the recorded
header are the source. The weights of the frozen modules are never touched: each Linear's forward is extended.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional

from library import randomness
from library.errors import TrainerError

TRANSFORMER_PREFIX = "lora_unet"
CLIP_PREFIX = "lora_te1_text_model"
DOUBLE, SINGLE = "DoubleStreamBlock", "SingleStreamBlock"
BLOCKS_OF = {"all": (DOUBLE, SINGLE), "double": (DOUBLE,), "single": (SINGLE,)}
# The module classes of transformers' CLIP whose Linears are trained.
CLIP_BLOCKS = ("CLIPAttention", "CLIPMLP")


class LoRALinear(nn.Module):
    """The low-rank part beside one frozen Linear. `up` starts at zero, so training starts from the base model."""

    def __init__(self, linear: nn.Linear, *, rank: int, alpha: float, generator: torch.Generator) -> None:
        super().__init__()
        down = torch.empty(rank, linear.in_features)
        nn.init.kaiming_uniform_(down, a=math.sqrt(5), generator=generator)
        self.down = nn.Parameter(down)
        self.up = nn.Parameter(torch.zeros(linear.out_features, rank))
        self.scale = alpha / rank
        self._frozen_forward = linear.forward
        linear.forward = self.forward  # type: ignore[method-assign, assignment]

    def forward(self, x: Tensor) -> Tensor:
        frozen = self._frozen_forward(x)
        # Under autocast the two products run in its type; without it in the LoRA's own, fp32.
        low = x if torch.is_autocast_enabled(x.device.type) else x.to(self.down.dtype)
        added = functional.linear(functional.linear(low, self.down), self.up) * self.scale
        return frozen + added.to(frozen.dtype)


class LoRANetwork(nn.Module):
    """All low-rank parts of one training, by their key names."""

    def __init__(
        self,
        *,
        transformer: nn.Module,
        clip: nn.Module | None,
        rank: int,
        alpha: float,
        train_blocks: str,
        seed: int,
    ) -> None:
        super().__init__()
        self.rank, self.alpha = rank, alpha
        found = list(find_linears(transformer, TRANSFORMER_PREFIX, BLOCKS_OF[train_blocks]))
        if clip is not None:
            found += find_linears(clip, CLIP_PREFIX, CLIP_BLOCKS)
        for name, linear in found:
            drawn = randomness.generator("lora", seed, name)
            self.add_module(name, LoRALinear(linear, rank=rank, alpha=alpha, generator=drawn))

    def parts(self) -> Iterator[tuple[str, LoRALinear]]:
        for name, part in self.named_children():
            assert isinstance(part, LoRALinear)
            yield name, part

    def parameters_of(self, prefix: str) -> list[nn.Parameter]:
        """The parameters of the parts under a key prefix, in a fixed order."""
        return [
            parameter for name, part in self.parts() if name.startswith(prefix) for parameter in part.parameters()
        ]

    def kohya_tensors(self, dtype: torch.dtype = torch.float32) -> dict[str, Tensor]:
        """The LoRA under its file's keys, on the CPU. An alpha that `dtype` cannot hold exactly stays fp32."""
        tensors = {}
        for name, part in self.parts():
            alpha = torch.tensor(self.alpha)
            exact = alpha.to(dtype).double() == alpha.double()
            tensors[f"{name}.alpha"] = alpha.to(dtype) if exact else alpha
            tensors[f"{name}.lora_down.weight"] = part.down.detach().to("cpu", dtype).contiguous().clone()
            tensors[f"{name}.lora_up.weight"] = part.up.detach().to("cpu", dtype).contiguous().clone()
        return tensors

    @torch.no_grad()
    def load_kohya(self, tensors: Mapping[str, Tensor], source: str) -> None:
        """Takes over saved weights. Raises TrainerError if a key, a shape or alpha does not fit."""
        expected = self.kohya_tensors()
        for key in sorted(expected.keys() ^ tensors.keys()):
            side = "lacks" if key in expected else "has, but this run does not train,"
            raise TrainerError(f"{source} does not fit this run: it {side} {key}; use the settings it was made with")
        for key, tensor in expected.items():
            if tensors[key].shape != tensor.shape:
                raise TrainerError(
                    f"{source} does not fit this run: {key} is {tuple(tensors[key].shape)} there and "
                    f"{tuple(tensor.shape)} here; use the --network_dim it was made with"
                )
            if key.endswith(".alpha") and float(tensors[key]) != float(tensor):
                raise TrainerError(
                    f"{source} does not fit this run: alpha is {float(tensors[key]):g} there and "
                    f"{self.alpha:g} here; use the --network_alpha it was made with"
                )
        for name, part in self.parts():
            part.down.copy_(tensors[f"{name}.lora_down.weight"])
            part.up.copy_(tensors[f"{name}.lora_up.weight"])


def find_linears(root: nn.Module, prefix: str, block_classes: tuple[str, ...]) -> Iterator[tuple[str, nn.Linear]]:
    """(key name, Linear) for each Linear in the blocks of the named classes, in the model's order."""
    for block_name, block in root.named_modules():
        if type(block).__name__ in block_classes:
            for name, module in block.named_modules():
                if isinstance(module, nn.Linear):
                    yield f"{prefix}.{block_name}.{name}".replace(".", "_"), module
