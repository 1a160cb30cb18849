# SPDX-License-Identifier: Apache-2.0
"""The learning rates of a step under sd-scripts' TensorBoard tags. Pure.

`lr/unet` and `lr/textencoder` are the rates that the optimizer's updates are multiplied by. With Prodigy and
D-Adaptation that is d times the schedule's factor, which is also under `lr/d*lr/...`. (sd-scripts shows the factor
alone under `lr/unet`, which stays at 1.) The factors are under `lr/group...`. See
docs/decisions/0069-true-rates.md.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

TEXT_ENCODER = "textencoder"


def tags(groups: Sequence[Mapping[str, Any]], names: Sequence[str]) -> dict[str, float]:
    """The rates by tag. `groups`: the optimizer's; `names`: sd-scripts' name of each (`optimizer.group_names`)."""
    found: dict[str, float] = {}
    with_clip = names[0].startswith(TEXT_ENCODER)
    for index, (group, name) in enumerate(zip(groups, names, strict=True)):
        factor, adaptive = float(group["lr"] or 0.0), "d" in group
        found[f"lr/{name}"] = used = factor * float(group.get("d", 1.0))
        if adaptive:
            found[f"lr/d*lr/{name}"] = used
        if with_clip and index == 0:
            found[f"lr/{TEXT_ENCODER}"] = used
            continue
        # Numbered from 0, or from 1 if CLIP-L's first group comes before.
        found[f"lr/group{index}"] = factor
        if adaptive:
            found[f"lr/d*lr/group{index}"] = used
    return found
