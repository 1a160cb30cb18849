# SPDX-License-Identifier: Apache-2.0
"""Describes a LoRA, as data and as text: layout, ranks, alphas, norms of its blocks, and metadata."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, TypeVar

from library.errors import TrainerError
from library.lora.layouts import Family, Layout, place_of_diffusers, place_of_kohya
from library.lora.low_rank import LowRank
from library.lora.reading import LoRAFile

T = TypeVar("T")
OTHER = "other"
# Of some ninety metadata keys, the ones that say how the LoRA was trained.
TELLING = (
    *("modelspec.title", "modelspec.architecture", "ss_output_name", "ss_base_model_version", "ss_sd_model_name"),
    *("ss_network_module", "ss_network_dim", "ss_network_alpha", "ss_network_args", "ss_steps", "ss_max_train_steps"),
    *("ss_epoch", "ss_num_epochs", "ss_num_train_images", "ss_learning_rate", "ss_unet_lr", "ss_text_encoder_lr"),
    *(
        "ss_optimizer",
        "ss_lr_scheduler",
        "ss_seed",
        "ss_timestep_sampling",
        "ss_guidance_scale",
        "ss_mixed_precision",
    ),
    *("ss_training_comment", "sshs_model_hash"),
)


@dataclass(frozen=True, kw_only=True)
class LoRAReport:
    """The facts about a LoRA.

    `ranks`, `alphas` and `types` count layers by value. `norms`: by block, the Frobenius norm of
    `alpha/rank * up @ down` over all layers of the block together, so that it is the same in each layout.
    `not_finite`: names of layers with NaN or infinity.
    """

    layout: Layout
    modules: int
    ranks: dict[int, int]
    alphas: dict[float, int]
    types: dict[str, int]
    norms: dict[str, float]
    not_finite: list[str]
    metadata: dict[str, str]

    def as_json(self) -> dict[str, object]:
        """A dictionary for json.dumps. A norm that is not finite becomes null, since JSON has no number for it."""
        norms = {block: norm if math.isfinite(norm) else None for block, norm in self.norms.items()}
        return asdict(self) | {"norms": norms}


def report_of(file: LoRAFile) -> LoRAReport:
    layers = file.layers
    return LoRAReport(
        layout=file.layout,
        modules=len(layers),
        ranks=_counted(layer.rank for layer in layers.values()),
        alphas=_counted(layer.alpha for layer in layers.values()),
        types=_counted(str(layer.up.dtype).removeprefix("torch.") for layer in layers.values()),
        norms=_norms(file.family, layers),
        not_finite=[name for name, layer in layers.items() if not _is_finite(layer)],
        metadata=dict(sorted(file.metadata.items())),
    )


def _counted(values: Iterable[T]) -> dict[T, int]:
    """How often each value occurs, the most common first."""
    return dict(Counter(values).most_common())


def _is_finite(layer: LowRank) -> bool:
    return bool(layer.down.isfinite().all() and layer.up.isfinite().all())


def _norms(family: Family, layers: Mapping[str, LowRank]) -> dict[str, float]:
    """The norms by block, in the model's order."""
    squares: dict[str, float] = {}
    for name, layer in layers.items():
        block = _block(family, name)
        squares[block] = squares.get(block, 0.0) + layer.squared_norm
    return {block: math.sqrt(squares[block]) for block in sorted(squares, key=_order)}


def _block(family: Family, name: str) -> str:
    try:
        return (place_of_kohya(name) if family == "fused" else place_of_diffusers(name)).block
    except TrainerError:
        return OTHER


def _order(block: str) -> tuple[int, int]:
    kind, _, number = block.partition(" ")
    return ("double", "single", "outside", "clip_l", OTHER).index(kind), int(number or 0)


def as_text(report: LoRAReport) -> str:
    """The report for people: a line for each fact, then the most informative metadata, then a line for each block."""
    lines = [
        f"layout   {report.layout}",
        f"modules  {report.modules}",
        f"rank     {_shown(report.ranks)}",
        f"alpha    {_shown({f'{alpha:g}': count for alpha, count in report.alphas.items()})}",
        f"type     {_shown(report.types)}",
    ]
    if report.not_finite:
        lines.append(f"damaged  NaN or infinity in {len(report.not_finite)} modules, e.g. {report.not_finite[0]}")
    told = {key: report.metadata[key] for key in TELLING if report.metadata.get(key, "None") != "None"}
    width = max(map(len, told), default=0)
    lines += ["", *[f"{key:{width}}  {value}" for key, value in told.items()]] if told else []
    largest = max((norm for norm in report.norms.values() if math.isfinite(norm)), default=0.0)
    lines += ["", "norm of alpha/rank * up @ down"]
    lines += [f"{block:10}  {norm:10.4g}  {_bar(norm, largest)}".rstrip() for block, norm in report.norms.items()]
    return "\n".join(lines)


def _shown(counts: Mapping[Any, int]) -> str:
    if len(counts) == 1:
        return str(next(iter(counts)))
    return ", ".join(f"{value} ({count} modules)" for value, count in counts.items())


def _bar(norm: float, largest: float) -> str:
    return "#" * round(40 * norm / largest) if largest and math.isfinite(norm) else ""
