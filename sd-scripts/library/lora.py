# SPDX-License-Identifier: Apache-2.0
"""LoRA in kohya's layout (networks.lora_flux): W' = W + (alpha / rank) up @ down, on fused projections as they lie.

Keys are `lora_unet_` + module name (or `lora_te1_text_model_` for CLIP-L) with `_` for `.`, each with
`.lora_down.weight` (rank, in), `.lora_up.weight` (out, rank) and `.alpha`; trainers.md 1.6 and the recorded
header are the source. The weights of the frozen modules are never touched: each Linear's forward is extended.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from library import randomness
from library.errors import TrainerError
from library.network_settings import IN_LAYERS, NetworkSettings

TRANSFORMER_PREFIX = "lora_unet"
CLIP_PREFIX = "lora_te1_text_model"
TRANSFORMER_BLOCKS = ("DoubleStreamBlock", "SingleStreamBlock")
# The module classes of transformers' CLIP whose Linears are trained.
CLIP_BLOCKS = ("CLIPAttention", "CLIPMLP")


@dataclass(frozen=True, kw_only=True)
class Size:
    """Rank and alpha of one layer."""

    rank: int
    alpha: float


@dataclass(frozen=True, kw_only=True)
class Dropouts:
    """Chances by which, in training, a number between down and up, a rank of a picture, or a whole layer is left out.

    They draw from torch's default generators, which are seeded at each micro-step: dropout takes no generator.
    """

    number: float = 0.0
    rank: float = 0.0
    module: float = 0.0


class LoRALinear(nn.Module):
    """The low-rank part beside one frozen Linear. `up` starts at zero, so training starts from the base model."""

    def __init__(
        self, linear: nn.Linear, *, size: Size, dropouts: Dropouts | None = None, generator: torch.Generator
    ) -> None:
        super().__init__()
        down = torch.empty(size.rank, linear.in_features)
        nn.init.kaiming_uniform_(down, a=math.sqrt(5), generator=generator)
        self.down = nn.Parameter(down)
        self.up = nn.Parameter(torch.zeros(linear.out_features, size.rank))
        self.alpha = size.alpha
        self.scale = size.alpha / size.rank
        self._dropouts = dropouts
        self._frozen_forward = linear.forward
        linear.forward = self.forward  # type: ignore[method-assign, assignment]

    def forward(self, x: Tensor) -> Tensor:
        frozen = self._frozen_forward(x)
        dropouts = self._dropouts if self.training else None
        # Under autocast the two products run in its type; without it in the LoRA's own, fp32.
        low = x if torch.is_autocast_enabled(x.device.type) else x.to(self.down.dtype)
        low = functional.linear(low, self.down)
        if dropouts is not None:
            low = _drop(low, dropouts)
        added = functional.linear(low, self.up) * self.scale
        return frozen + added.to(frozen.dtype)


def _drop(low: Tensor, dropouts: Dropouts) -> Tensor:
    """(B, ..., rank) with numbers, and ranks of each picture, left out, the rest being scaled up in their place; or
    with all of it left out."""
    if dropouts.number:
        low = functional.dropout(low, dropouts.number)
    if dropouts.module:
        # As a factor, so that nothing is read back from the device; the rest is not scaled up, as in sd-scripts.
        low = low * (torch.rand((), device=low.device) >= dropouts.module)
    if dropouts.rank:
        shape = (low.shape[0], *[1] * (low.ndim - 2), low.shape[-1])
        low = low * (torch.rand(shape, device=low.device) > dropouts.rank) / (1 - dropouts.rank)
    return low


class LoRANetwork(nn.Module):
    """All low-rank parts of one training, by their key names."""

    def __init__(
        self,
        *,
        transformer: nn.Module,
        clip: nn.Module | None,
        rank: int,
        alpha: float,
        seed: int,
        settings: NetworkSettings | None = None,
        dropout: float = 0.0,
        sizes: Mapping[str, Size] | None = None,
    ) -> None:
        """`sizes` (of a file, by key name) decides alone which layers are trained; else rank, alpha and settings do.

        Alpha 0 is the rank. `dropout` is that of the numbers between down and up.
        """
        super().__init__()
        settings = settings or NetworkSettings()
        drops = (dropout, settings.rank_dropout, settings.module_dropout)
        dropouts = Dropouts(number=drops[0], rank=drops[1], module=drops[2]) if any(drops) else None
        for name, linear in find_layers(transformer, clip):
            if sizes is not None:
                size = sizes.get(name)
            else:
                own = settings.rank_of(name, rank)
                size = Size(rank=own, alpha=alpha or own) if own else None
            if size is not None:
                drawn = randomness.generator("lora", seed, name)
                self.add_module(name, LoRALinear(linear, size=size, dropouts=dropouts, generator=drawn))

    def parts(self) -> Iterator[tuple[str, LoRALinear]]:
        for name, part in self.named_children():
            assert isinstance(part, LoRALinear)
            yield name, part

    def kohya_tensors(self, dtype: torch.dtype = torch.float32) -> dict[str, Tensor]:
        """The LoRA under its file's keys, on the CPU. An alpha that `dtype` cannot hold exactly stays fp32."""
        tensors = {}
        for name, part in self.parts():
            alpha = torch.tensor(float(part.alpha))
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
        for name, part in self.parts():
            _check_fit(name, part, tensors, source)
        self._copy(tensors)

    @torch.no_grad()
    def begin_with(self, tensors: Mapping[str, Tensor], source: str) -> int:
        """Takes over the layers that the file and this run share, and tells how many those are (--network_weights).

        Raises TrainerError if there is none, or if the shape or the alpha of one differs.
        """
        shared = [(name, part) for name, part in self.parts() if f"{name}.lora_down.weight" in tensors]
        if not shared:
            raise TrainerError(f"{source} has no layer that this run trains; it must be a LoRA with kohya's keys")
        for name, part in shared:
            _check_fit(name, part, tensors, source)
        self._copy(tensors)
        return len(shared)

    def _copy(self, tensors: Mapping[str, Tensor]) -> None:
        for name, part in self.parts():
            if f"{name}.lora_down.weight" in tensors:
                part.down.copy_(tensors[f"{name}.lora_down.weight"])
                part.up.copy_(tensors[f"{name}.lora_up.weight"])

    @torch.no_grad()
    def is_finite(self) -> bool:
        """Whether all weights are numbers. Waits for the device."""
        return bool(torch.stack([parameter.isfinite().all() for parameter in self.parameters()]).all())

    @torch.no_grad()
    def limit_norms(self, maximum: float) -> None:
        """Scales down each part whose alpha/rank up down has a greater Frobenius norm (--scale_weight_norms).

        |U D|^2 = sum((U^T U) * (D D^T)), so the product is never made; nothing is read back from the device.
        """
        for _, part in self.parts():
            product = (part.up.T @ part.up) * (part.down @ part.down.T)
            norm = part.scale * product.sum().clamp(min=0).sqrt()
            factor = (maximum / norm.clamp(min=maximum)).sqrt()
            part.up.mul_(factor)
            part.down.mul_(factor)


def _check_fit(name: str, part: LoRALinear, tensors: Mapping[str, Tensor], source: str) -> None:
    """Raises TrainerError if saved tensors of one part are missing or of another shape or alpha."""
    for key, own in ((f"{name}.lora_down.weight", part.down), (f"{name}.lora_up.weight", part.up)):
        if key not in tensors:
            raise TrainerError(f"{source} does not fit this run: it lacks {key}")
        if tensors[key].shape != own.shape:
            raise TrainerError(
                f"{source} does not fit this run: {key} is {tuple(tensors[key].shape)} there and "
                f"{tuple(own.shape)} here; use the --network_dim it was made with"
            )
    alpha = tensors.get(f"{name}.alpha")
    if alpha is not None and alpha.numel() != 1:
        raise TrainerError(f"{source} is damaged: {name}.alpha has {alpha.numel()} numbers, and 1 is right")
    # Compared in the file's type, since bf16 holds few alphas exactly.
    if alpha is not None and alpha.item() != torch.tensor(float(part.alpha)).to(alpha.dtype).item():
        raise TrainerError(
            f"{source} does not fit this run: alpha is {float(alpha):g} there and {part.alpha:g} here; "
            "use the --network_alpha it was made with"
        )


def sizes_in(tensors: Mapping[str, Tensor]) -> dict[str, Size]:
    """Rank and alpha of each layer of a LoRA file (--dim_from_weights). Without an alpha it is the rank.

    Raises TrainerError where a layer has no rank or more than one alpha.
    """
    sizes = {}
    for key, tensor in tensors.items():
        name, dot, rest = key.partition(".")
        if dot and rest == "lora_down.weight":
            alpha = tensors.get(f"{name}.alpha")
            if tensor.ndim != 2 or not tensor.numel() or (alpha is not None and alpha.numel() != 1):
                raise TrainerError(
                    f"--dim_from_weights: {name} of --network_weights is damaged: it has no rank or alpha"
                )
            sizes[name] = Size(rank=tensor.shape[0], alpha=float(alpha) if alpha is not None else tensor.shape[0])
    return sizes


def find_layers(transformer: nn.Module, clip: nn.Module | None) -> Iterator[tuple[str, nn.Linear]]:
    """(key name, Linear) of all that can be trained: blocks, then the layers before them, then CLIP-L."""
    yield from find_linears(transformer, TRANSFORMER_PREFIX, TRANSFORMER_BLOCKS)
    for name, module in transformer.named_modules():
        if isinstance(module, nn.Linear) and name.partition(".")[0] in IN_LAYERS:
            yield f"{TRANSFORMER_PREFIX}.{name}".replace(".", "_"), module
    if clip is not None:
        yield from find_linears(clip, CLIP_PREFIX, CLIP_BLOCKS)


def find_linears(root: nn.Module, prefix: str, block_classes: tuple[str, ...]) -> Iterator[tuple[str, nn.Linear]]:
    """(key name, Linear) for each Linear in the blocks of the named classes, in the model's order."""
    for block_name, block in root.named_modules():
        if type(block).__name__ in block_classes:
            for name, module in block.named_modules():
                if isinstance(module, nn.Linear):
                    yield f"{prefix}.{block_name}.{name}".replace(".", "_"), module
