# SPDX-License-Identifier: Apache-2.0
"""The noise levels of FLUX.1's sampler, as in sd-scripts."""

from __future__ import annotations

import torch
from torch import Tensor

from library.flow import flow_matching


def levels(steps: int, tokens: int, *, guided: bool) -> Tensor:
    """Noise levels from 1 to 0, (steps + 1): shifted by the picture's size for dev (`guided`), evenly spaced for
    schnell."""
    even = torch.linspace(1, 0, steps + 1)
    return flow_matching.shift_sigma(even, flow_matching.flux_shift(tokens)) if guided else even
