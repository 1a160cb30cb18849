# SPDX-License-Identifier: Apache-2.0
"""The layers of FLUX.1's transformer and of CLIP-L that a LoRA can train, by the shapes in their files. No torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from library.family.port import Layers
from library.flux import encoder_config
from library.lora import keys
from library.options import trained_layers
from library.options.trained_layers import CLIP_PREFIX, TRANSFORMER_PREFIX

Shapes = Mapping[str, tuple[int, ...]]


def of_transformer(shapes: Shapes) -> Layers:
    """The transformer's layers."""

    def trained(path: str) -> bool:
        return trained_layers.in_blocks(path) or trained_layers.before_blocks(path)

    return _layers(shapes, TRANSFORMER_PREFIX, trained)


def of_clip(shapes: Shapes) -> Layers:
    """CLIP-L's layers. `shapes`: those of its file."""
    own = {key.removeprefix(encoder_config.CLIP_PREFIX): shape for key, shape in shapes.items()}
    return _layers(own, CLIP_PREFIX, trained_layers.in_clip)


def _layers(shapes: Shapes, prefix: str, trained: Callable[[str], bool]) -> Layers:
    found = {}
    for key, shape in shapes.items():
        path = key.removesuffix(".weight")
        if path != key and len(shape) == 2 and trained(path):
            found[keys.layer_name(prefix, path)] = (shape[0], shape[1])
    return found
