# SPDX-License-Identifier: Apache-2.0
"""Loading to a GPU: the 8-bit base equals a CPU's bit for bit, and loading takes little memory beside it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from library.flux import loading
from library.flux.config import FluxConfig
from tests.sd_scripts.larger_file import larger_file

__all__ = ["larger_file"]
GPU = torch.device("cuda")


@pytest.mark.parametrize("base", ["full", "fp8"])
def test_loading_on_a_gpu_takes_little_more_than_on_a_cpu(base: str, larger_file: tuple[Path, FluxConfig]) -> None:
    path, config = larger_file
    expected = loading.load_transformer(
        path, config, dtype=torch.bfloat16, device=torch.device("cpu"), base=base
    ).state_dict()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    found = loading.load_transformer(path, config, dtype=torch.bfloat16, device=GPU, base=base).state_dict()
    assert found.keys() == expected.keys()
    for key, tensor in found.items():
        assert torch.equal(tensor.cpu().view(torch.uint8), expected[key].view(torch.uint8)), key
    loaded = sum(tensor.nbytes for tensor in expected.values())
    largest = max(tensor.numel() for tensor in expected.values())
    # Beside the result: one tensor in 16 bits as read and in fp32 while it is quantised, and the allocator's rounding
    # of each tensor to 512 bytes.
    taken = torch.cuda.max_memory_allocated() - before
    assert loaded <= taken <= loaded + 8 * largest + 512 * len(expected)
