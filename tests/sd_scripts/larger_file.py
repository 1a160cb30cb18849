# SPDX-License-Identifier: Apache-2.0
"""A Flux file that is large enough to measure the memory that loading it takes. Needs no diffusers."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from library.flux.config import FluxConfig
from library.flux.model import Flux


@pytest.fixture(scope="module")
def larger_file(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, FluxConfig]:
    """A Flux of 89 million parameters in fp16: 178 MB, of which the largest tensor has 2 MB."""
    config = FluxConfig(
        packed_channels=64,
        vector_width=64,
        text_width=64,
        hidden=384,
        mlp_hidden=1536,
        head_width=96,
        double_blocks=8,
        single_blocks=20,
        guidance=True,
    )
    with torch.device("meta"):
        shapes = {key: tensor.shape for key, tensor in Flux(config).state_dict().items()}
    path = tmp_path_factory.mktemp("larger") / "flux.safetensors"
    save_file(
        {key: torch.linspace(-0.1, 0.1, shape.numel()).half().view(shape) for key, shape in shapes.items()}, path
    )
    return path, config
