# SPDX-License-Identifier: Apache-2.0
"""The settings that --deterministic makes for the process."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
import torch
import torch.utils.deterministic

from library import determinism


@pytest.fixture(autouse=True)
def as_it_was(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    monkeypatch.setattr(torch.utils.deterministic, "fill_uninitialized_memory", True)
    yield
    torch.use_deterministic_algorithms(False)


@pytest.mark.parametrize("deterministic", [True, False])
def test_algorithms_are_fixed_and_no_memory_is_filled(deterministic: bool) -> None:
    determinism.settle(deterministic=deterministic)
    assert torch.are_deterministic_algorithms_enabled() == deterministic
    assert ("CUBLAS_WORKSPACE_CONFIG" in os.environ) == deterministic
    torch.full((100_000,), 7.0)  # the next allocation reuses its memory
    assert not torch.empty(100_000).isnan().all()
