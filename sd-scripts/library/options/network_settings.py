# SPDX-License-Identifier: Apache-2.0
"""--network_args: which layers are trained, at which rank and rate, and the dropouts. Pure, and without torch.

Names, order and precedence are those of sd-scripts' networks.lora_flux. train_blocks overrides everything else; a
rank by pattern (network_reg_dims) overrides the choice of blocks by index and the ranks by part, which override
--network_dim; rank 0 leaves a layer out. Layers have their key names, such as lora_unet_double_blocks_0_img_attn_qkv.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from library.options.trained_layers import IN_LAYERS, TRANSFORMER_PREFIX

TRAIN_BLOCKS = ("all", "double", "single")
# What a layer's name must contain to get the rank of a part, in the order in which the parts are tried.
PARTS = {
    "img_attn_dim": ("img_attn",),
    "txt_attn_dim": ("txt_attn",),
    "img_mlp_dim": ("img_mlp",),
    "txt_mlp_dim": ("txt_mlp",),
    "img_mod_dim": ("img_mod",),
    "txt_mod_dim": ("txt_mod",),
    "single_dim": ("single_blocks", "linear"),
    "single_mod_dim": ("modulation",),
}
Indices = frozenset[int] | None
"""Chosen blocks; None: all."""


@dataclass(frozen=True, kw_only=True)
class NetworkSettings:
    """The values of --network_args. The defaults are those of an empty list."""

    train_blocks: str = "all"
    part_ranks: dict[str, int] = field(default_factory=dict)
    in_ranks: tuple[int, ...] = (0, 0, 0, 0, 0)
    double_blocks: Indices = None
    single_blocks: Indices = None
    pattern_ranks: tuple[tuple[str, int], ...] = ()
    pattern_rates: tuple[tuple[str, float], ...] = ()
    rank_dropout: float = 0.0
    module_dropout: float = 0.0
    plus_ratio: float | None = None
    plus_ratio_transformer: float | None = None
    plus_ratio_clip: float | None = None

    def rank_of(self, name: str, default: int) -> int:
        """The rank of a layer, 0 if it is left out. `default` is --network_dim."""
        block = re.match(rf"{TRANSFORMER_PREFIX}_(double|single)_blocks_(\d+)_", name)
        if block is not None and self.train_blocks not in ("all", block[1]):
            return 0
        for pattern, rank in self.pattern_ranks:
            if re.search(pattern, name):
                return rank
        if block is not None:
            chosen = self.double_blocks if block[1] == "double" else self.single_blocks
            return self._rank_of_part(name, default) if chosen is None or int(block[2]) in chosen else 0
        before = zip(IN_LAYERS, self.in_ranks, strict=True)
        return next((rank for layer, rank in before if name.startswith(f"{TRANSFORMER_PREFIX}_{layer}")), default)

    def _rank_of_part(self, name: str, default: int) -> int:
        for part, rank in self.part_ranks.items():
            if all(piece in name for piece in PARTS[part]):
                return rank
        return default

    def rate_pattern_of(self, name: str) -> int | None:
        """The index in `pattern_rates` of the entry that gives a layer's learning rate; None if none matches."""
        matches = (re.search(pattern, name) for pattern, _ in self.pattern_rates)
        return next((index for index, match in enumerate(matches) if match), None)

    def plus_ratio_of(self, prefix: str) -> float | None:
        """LoRA+: the ratio of the up matrices' learning rate to the down matrices', for layers with this prefix; None
        if LoRA+ is off."""
        own = self.plus_ratio_clip if prefix.startswith("lora_te") else self.plus_ratio_transformer
        return own or self.plus_ratio

    def misfit(self, *, double_blocks: int, single_blocks: int) -> str | None:
        """A sentence saying why the chosen blocks do not fit a model of this depth, or None."""
        for kind, chosen, depth in (
            ("double", self.double_blocks, double_blocks),
            ("single", self.single_blocks, single_blocks),
        ):
            if chosen and max(chosen) >= depth:
                return (
                    f"--network_args train_{kind}_block_indices names block {max(chosen)}, but the model has "
                    f"{depth} {kind} blocks, numbered from 0"
                )
        return None


def _rank(text: str) -> int:
    if (value := int(text)) < 0:
        raise ValueError
    return value


def _probability(text: str) -> float:
    if not 0 <= (value := float(text)) < 1:
        raise ValueError
    return value


def _ratio(text: str) -> float:
    if not (value := float(text)) > 0:
        raise ValueError
    return value


def _in_ranks(text: str) -> tuple[int, ...]:
    ranks = tuple(_rank(piece) for piece in text.strip().removeprefix("[").removesuffix("]").split(","))
    if len(ranks) != len(IN_LAYERS):
        raise ValueError
    return ranks


def _blocks(text: str) -> str:
    if text not in TRAIN_BLOCKS:
        raise ValueError
    return text


def _indices(text: str) -> Indices:
    """Parses `all`, `none`, or numbers and ranges such as 0,1,8-12."""
    if text in ("all", "none", ""):
        return None if text == "all" else frozenset()
    chosen: set[int] = set()
    for piece in text.split(","):
        first, dash, last = piece.partition("-")
        numbers = range(int(first), int(last) + 1) if dash else (int(first),)
        if not numbers:
            raise ValueError
        chosen.update(numbers)
    return frozenset(chosen)


def _patterns(convert: Callable[[str], Any]) -> Callable[[str], tuple[tuple[str, Any], ...]]:
    """A parser of `PATTERN=VALUE,PATTERN=VALUE`, in which the patterns are regular expressions."""

    def read(text: str) -> tuple[tuple[str, Any], ...]:
        pairs = []
        for piece in filter(None, map(str.strip, text.split(","))):
            pattern, separator, value = piece.partition("=")
            if not separator:
                raise ValueError
            re.compile(pattern.strip())
            pairs.append((pattern.strip(), convert(value)))
        return tuple(pairs)

    return read


def _false(text: str) -> None:
    if text != "False":
        raise ValueError


@dataclass(frozen=True, kw_only=True)
class _Arg:
    """One name: the field that it sets (None: it sets nothing), the parser of its value, and the right values."""

    field: str | None
    read: Callable[[str], Any]
    right: str


RANK, RATIO, PROBABILITY = "a whole number of at least 0", "a number above 0", "a number from 0 to less than 1"
INDICES = "all, none, or numbers and ranges such as 0,1,8-12"
ARGS = {
    "train_blocks": _Arg(field="train_blocks", read=_blocks, right=f"one of {', '.join(TRAIN_BLOCKS)}"),
    **{name: _Arg(field="part_ranks", read=_rank, right=RANK) for name in PARTS},
    "in_dims": _Arg(field="in_ranks", read=_in_ranks, right=f"[five ranks], for {', '.join(IN_LAYERS)}"),
    "train_double_block_indices": _Arg(field="double_blocks", read=_indices, right=INDICES),
    "train_single_block_indices": _Arg(field="single_blocks", read=_indices, right=INDICES),
    "network_reg_dims": _Arg(field="pattern_ranks", read=_patterns(_rank), right="PATTERN=RANK,..."),
    "network_reg_lrs": _Arg(field="pattern_rates", read=_patterns(float), right="PATTERN=RATE,..."),
    "rank_dropout": _Arg(field="rank_dropout", read=_probability, right=PROBABILITY),
    "module_dropout": _Arg(field="module_dropout", read=_probability, right=PROBABILITY),
    "loraplus_lr_ratio": _Arg(field="plus_ratio", read=_ratio, right=RATIO),
    "loraplus_unet_lr_ratio": _Arg(field="plus_ratio_transformer", read=_ratio, right=RATIO),
    "loraplus_text_encoder_lr_ratio": _Arg(field="plus_ratio_clip", read=_ratio, right=RATIO),
    # Names of sd-scripts that this trainer accepts only as False: split_qkv is broken in sd-scripts, and no program
    # reads a LoRA of T5.
    "train_t5xxl": _Arg(field=None, read=_false, right="False (T5 is not trained)"),
    "split_qkv": _Arg(field=None, read=_false, right="False (q, k and v have one LoRA)"),
}


def check(name: str, value: str) -> str | None:
    """A sentence saying what is wrong with `name=value`, or None."""
    try:
        ARGS[name].read(value)
    except (ValueError, re.error):
        return f"{name}={value}: the value must be {ARGS[name].right}"
    return None


def read(pairs: Iterable[tuple[str, str]]) -> NetworkSettings:
    """The settings from (name, value) pairs that `check` has passed. The last value of a repeated name counts."""
    found = dict(pairs)
    values = {arg.field: arg.read(found[name]) for name, arg in ARGS.items() if arg.field and name in found}
    if "part_ranks" in values:
        values["part_ranks"] = {name: _rank(found[name]) for name in PARTS if name in found}
    return NetworkSettings(**values)
