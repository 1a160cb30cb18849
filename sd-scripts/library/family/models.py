# SPDX-License-Identifier: Apache-2.0
"""The loaded models of a family, apart from its transformer (`compute.transformer`), as the trainer sees them.

Shape suffixes: B pictures or texts, C latent channels, h w latents, H W pixels.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy
import torch
from torch import Tensor, nn

Text = Mapping[str, Tensor]
"""What the encoders make of one text, or of a batch of texts: tensors by names that the family chooses. Those of one
text are on the CPU, fp32 where they are not integers."""
Arrays = Mapping[str, numpy.ndarray]


class Autoencoder(Protocol):
    """Turns pictures into latents and back. It is frozen."""

    def to(self, device: torch.device) -> None:
        """Moves the model to another device. After a torch.OutOfMemoryError it can be moved back."""

    def encode(self, pixels_B3HW: Tensor, generator: torch.Generator) -> Tensor:
        """Pixels in [-1, 1] -> latents (B, C, h, w), drawn with `generator`."""

    def decode(self, latents_BChw: Tensor) -> Tensor:
        """Latents -> pixels in [-1, 1], (B, 3, H, W)."""


@dataclass(frozen=True, kw_only=True)
class TrainedEncoder:
    """A text encoder that gets a LoRA. `condition`: replaces the token ids in a batch of texts by what the encoder
    makes of them now."""

    module: nn.Module
    condition: Callable[[Text], Text]


class TextEncoders(Protocol):
    """A job's text encoders on their device, with their tokenizers. Not thread-safe."""

    @property
    def trained(self) -> TrainedEncoder | None: ...

    def encode(self, text: str) -> Text:
        """What is kept of a text: all that a forward pass needs, and what else its file holds."""

    def encode_frozen(self, text: str) -> Text:
        """The same without running the trained encoder: zeros are in place of its output."""

    def ids(self, text: str) -> Text:
        """The token ids for `TrainedEncoder.condition`; empty if no encoder is trained."""


class TextFile(Protocol):
    """How one encoded text is kept in an npz file. `names`: those of the arrays that a file must have; `parts`: those
    of the tensors that a forward pass needs."""

    @property
    def names(self) -> tuple[str, ...]: ...

    @property
    def parts(self) -> tuple[str, ...]: ...

    def arrays(self, text: Text) -> Arrays: ...

    def read(self, path: Path) -> Text:
        """The parts of a text from its file. Raises OSError, KeyError and ValueError."""

    def fits(self, arrays: Arrays) -> bool:
        """Whether the arrays of a file by sd-scripts were made with the settings of this job."""
