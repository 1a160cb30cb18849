# SPDX-License-Identifier: Apache-2.0
"""Loads the tests' models in this process."""

from __future__ import annotations

import torch

from library.files.safetensors_header import read_shapes
from library.flux.autoencoder import Autoencoder
from library.flux.autoencoder_config import read_config
from tests.sd_scripts.running import Models


def load_autoencoder(models: Models) -> Autoencoder:
    """The autoencoder, on the CPU."""
    path = models.folder / "ae.safetensors"
    return Autoencoder(path, read_config(read_shapes(path, "--ae")), torch.device("cpu"))
