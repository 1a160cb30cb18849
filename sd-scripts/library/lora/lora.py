# SPDX-License-Identifier: Apache-2.0
"""LoRA in kohya's layout (networks.lora_flux): W' = W + (alpha / rank) up @ down, on the fused projections.

The frozen weights are never changed: each Linear's forward function is replaced by one that adds the low-rank part.
`keys` makes the names of the parts and the keys of their tensors.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from library import randomness
from library.errors import Misfit, TrainerError
from library.lora import fit as lora_fit
from library.lora import keys
from library.options import trained_layers
from library.options.network_settings import NetworkSettings
from library.options.trained_layers import CLIP_PREFIX, TRANSFORMER_PREFIX


@dataclass(frozen=True, kw_only=True)
class LayerSize:
    """The rank and alpha of one layer."""

    rank: int
    alpha: float


@dataclass(frozen=True, kw_only=True)
class Dropouts:
    """Probabilities of dropping, during training, a number between down and up, a rank of a picture, or a layer.

    torch's dropout accepts no generator, so it draws from the default ones, which are seeded at each micro-step.
    """

    number: float = 0.0
    rank: float = 0.0
    module: float = 0.0


class LoRALinear(nn.Module):
    """The low-rank part beside one frozen Linear. `up` starts at zero, so training starts from the base model."""

    def __init__(
        self,
        linear: nn.Linear,
        *,
        size: LayerSize,
        dropouts: Dropouts | None = None,
        generator: torch.Generator | None,
    ) -> None:
        """Without a `generator`, the weights have shapes but no memory, and cannot be written to."""
        super().__init__()
        down, up = (size.rank, linear.in_features), (linear.out_features, size.rank)
        if generator is None:
            self.down, self.up = (nn.Parameter(torch.zeros(()).expand(shape)) for shape in (down, up))
        else:
            drawn = torch.empty(down)
            nn.init.kaiming_uniform_(drawn, a=math.sqrt(5), generator=generator)
            self.down, self.up = nn.Parameter(drawn), nn.Parameter(torch.zeros(up))
        self.alpha = size.alpha
        self.scale = size.alpha / size.rank
        self._dropouts = dropouts
        self._frozen_forward = linear.forward
        linear.forward = self.forward  # type: ignore[method-assign, assignment]

    def forward(self, x: Tensor) -> Tensor:
        frozen = self._frozen_forward(x)
        dropouts = self._dropouts if self.training else None
        # The two products run in autocast's type, or without autocast in the LoRA's own, fp32.
        low = x if torch.is_autocast_enabled(x.device.type) else x.to(self.down.dtype)
        low = functional.linear(low, self.down)
        if dropouts is not None:
            low = _drop(low, dropouts)
        added = functional.linear(low, self.up) * self.scale
        return frozen + added.to(frozen.dtype)


def _drop(low: Tensor, dropouts: Dropouts) -> Tensor:
    """Drops numbers, and ranks per picture, from `low` (B, ..., rank), and scales up the rest; or drops all of it."""
    if dropouts.number:
        low = functional.dropout(low, dropouts.number)
    if dropouts.module:
        # A factor of 0 or 1, so that nothing is read back from the device. Not scaled up, as in sd-scripts.
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
        seed: int | None,
        settings: NetworkSettings | None = None,
        dropout: float = 0.0,
        sizes: Mapping[str, LayerSize] | None = None,
    ) -> None:
        """`sizes` (from a file, by key name) decides which layers are trained; without it, the other arguments do.

        Alpha 0 means the rank. `dropout`: for the numbers between down and up. Without a `seed`, the network has only
        shapes: saved weights can be compared with it but not loaded into it.
        """
        super().__init__()
        self._has_weights = seed is not None
        settings = settings or NetworkSettings()
        drops = (dropout, settings.rank_dropout, settings.module_dropout)
        dropouts = Dropouts(number=drops[0], rank=drops[1], module=drops[2]) if any(drops) else None
        for name, linear in find_layers(transformer, clip):
            if sizes is not None:
                size = sizes.get(name)
            else:
                own = settings.rank_of(name, rank)
                size = LayerSize(rank=own, alpha=alpha or own) if own else None
            if size is not None:
                drawn = randomness.generator("lora", seed, name) if seed is not None else None
                self.add_module(name, LoRALinear(linear, size=size, dropouts=dropouts, generator=drawn))

    def parts(self) -> Iterator[tuple[str, LoRALinear]]:
        for name, part in self.named_children():
            assert isinstance(part, LoRALinear)
            yield name, part

    def kohya_tensors(self, dtype: torch.dtype = torch.float32) -> dict[str, Tensor]:
        """The tensors of the LoRA file by key, on the CPU. An alpha that `dtype` cannot hold exactly stays fp32."""
        tensors = {}
        for name, part in self.parts():
            alpha = torch.tensor(float(part.alpha))
            exact = alpha.to(dtype).double() == alpha.double()
            tensors[keys.key_of(name, keys.ALPHA)] = alpha.to(dtype) if exact else alpha
            tensors[keys.key_of(name, keys.DOWN)] = part.down.detach().to("cpu", dtype).contiguous().clone()
            tensors[keys.key_of(name, keys.UP)] = part.up.detach().to("cpu", dtype).contiguous().clone()
        return tensors

    def differences(self, tensors: Mapping[str, Tensor]) -> list[str]:
        """All differences between saved weights and this network, one clause each."""
        return lora_fit.differences(dict(self.parts()), tensors)

    @torch.no_grad()
    def load_kohya(self, tensors: Mapping[str, Tensor], source: str) -> None:
        """Loads saved weights. Raises Misfit with all differences if they do not fit."""
        if different := self.differences(tensors):
            raise Misfit(lora_fit.sentence(source, different))
        self._copy(tensors)

    @torch.no_grad()
    def begin_with(self, tensors: Mapping[str, Tensor], source: str) -> int:
        """Loads the layers that a file and this run share (--network_weights), and returns their number.

        Raises TrainerError if they share none, or if the shape or the alpha of one differs.
        """
        shared = [(name, part) for name, part in self.parts() if keys.key_of(name, keys.DOWN) in tensors]
        if not shared:
            raise TrainerError(
                f"{source} has no layer that this run trains; give a LoRA with kohya's keys (convert_lora.py "
                "to-kohya converts other layouts)"
            )
        own = dict(shared)
        of_own = {key: tensor for key, tensor in tensors.items() if keys.split(key)[0] in own}
        if different := lora_fit.differences(own, of_own):
            raise TrainerError(lora_fit.sentence(source, different), kind="model")
        self._copy(tensors)
        return len(shared)

    def _copy(self, tensors: Mapping[str, Tensor]) -> None:
        if not self._has_weights:
            return
        for name, part in self.parts():
            if keys.key_of(name, keys.DOWN) in tensors:
                part.down.copy_(tensors[keys.key_of(name, keys.DOWN)])
                part.up.copy_(tensors[keys.key_of(name, keys.UP)])

    @torch.no_grad()
    def is_finite(self) -> bool:
        """Whether all weights are finite. Waits for the device."""
        return bool(torch.stack([parameter.isfinite().all() for parameter in self.parameters()]).all())

    @torch.no_grad()
    def limit_norms(self, maximum: float) -> Tensor:
        """Scales down each part whose alpha/rank up down has a Frobenius norm above `maximum` (--scale_weight_norms).

        Returns the norms before that, one per part, on the device. The product is never computed, since
        |U D|^2 = sum((U^T U) * (D D^T)). Nothing is read back from the device.
        """
        norms = []
        for _, part in self.parts():
            product = (part.up.T @ part.up) * (part.down @ part.down.T)
            norm = part.scale * product.sum().clamp(min=0).sqrt()
            factor = (maximum / norm.clamp(min=maximum)).sqrt()
            part.up.mul_(factor)
            part.down.mul_(factor)
            norms.append(norm)
        return torch.stack(norms)

    @torch.no_grad()
    def gradient_norm(self) -> Tensor | None:
        """The gradient norm that sd-scripts logs, on the device; None without gradients.

        For each part, the gradient of the product is, to first order, alpha/rank (up d_down + d_up down). The result
        is the mean over all parts of the mean norm of its rows. It equals alpha/rank W V with W = [up, d_up] and
        V = [d_down; down], and the squared norm of a row is w (V V^T) w^T, so the product is never computed.
        """
        means = []
        for _, part in self.parts():
            if part.up.grad is not None and part.down.grad is not None:
                left = torch.cat([part.up, part.up.grad], dim=1)
                right = torch.cat([part.down.grad, part.down])
                squares = ((left @ (right @ right.T)) * left).sum(dim=1)
                means.append(part.scale * squares.clamp(min=0).sqrt().mean())
        return torch.stack(means).mean() if means else None


def sizes_in(tensors: Mapping[str, Tensor]) -> dict[str, LayerSize]:
    """Rank and alpha of each layer in a LoRA file (--dim_from_weights). If alpha is missing, it is the rank.

    Raises TrainerError if a layer has no rank or more than one alpha.
    """
    sizes = {}
    for key, tensor in tensors.items():
        name, side = keys.split(key)
        if side == keys.DOWN:
            alpha = tensors.get(keys.key_of(name, keys.ALPHA))
            if tensor.ndim != 2 or not tensor.numel() or (alpha is not None and alpha.numel() != 1):
                raise TrainerError(
                    f"--dim_from_weights: {name} in --network_weights is damaged: it has no valid rank or alpha"
                )
            sizes[name] = LayerSize(
                rank=tensor.shape[0], alpha=float(alpha) if alpha is not None else tensor.shape[0]
            )
    return sizes


def find_layers(transformer: nn.Module, clip: nn.Module | None) -> Iterator[tuple[str, nn.Linear]]:
    """(name, Linear) for all layers that can be trained: in the blocks, before the blocks, then in CLIP-L."""
    yield from find_linears(transformer, TRANSFORMER_PREFIX, trained_layers.in_blocks)
    yield from find_linears(transformer, TRANSFORMER_PREFIX, trained_layers.before_blocks)
    if clip is not None:
        yield from find_linears(clip, CLIP_PREFIX, trained_layers.in_clip)


def find_linears(root: nn.Module, prefix: str, chosen: Callable[[str], bool]) -> Iterator[tuple[str, nn.Linear]]:
    """(name, Linear) for each Linear whose path is chosen, in the model's order."""
    for path, module in root.named_modules():
        if isinstance(module, nn.Linear) and chosen(path):
            yield keys.layer_name(prefix, path), module
