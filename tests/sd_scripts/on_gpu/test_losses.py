# SPDX-License-Identifier: Apache-2.0
"""Losses are read without making the GPU wait: one step late, and all of them on request."""

from __future__ import annotations

import torch

from library.report.loss_reader import LossReader


def test_losses_from_a_gpu_arrive_a_step_late_and_all_of_them_on_request() -> None:
    reader = LossReader()
    big = torch.randn(4096, 4096, device="cuda")
    seen: list[tuple[int, float, dict[str, float]]] = []
    for step in range(1, 6):
        for _ in range(20):
            big = torch.tanh(big @ big)
        reader.put(step, big.square().mean() * 0 + step, {"count": torch.tensor(step, device="cuda")})
        seen += reader.take()
        assert len(seen) >= step - 1
    seen += reader.take(every=True)
    assert seen == [(step, float(step), {"count": float(step)}) for step in range(1, 6)]
