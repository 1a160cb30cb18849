# SPDX-License-Identifier: Apache-2.0
"""Embeddings whose weights come from a file."""

from __future__ import annotations

import torch
from torch import nn


def embedding(entries: int, width: int) -> nn.Embedding:
    """A frozen embedding with undefined weights. nn.Embedding would draw them, and on `meta` that imports
    torch._dynamo, which takes a second."""
    return nn.Embedding.from_pretrained(torch.empty(entries, width))
