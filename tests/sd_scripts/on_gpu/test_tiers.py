# SPDX-License-Identifier: Apache-2.0
"""Full-size FLUX.1 dev trains within each --vram; PyTorch may not allocate more of the GPU than that."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from library.lora.lora import LoRANetwork
from library.memory import footprint, tiers
from library.options.options import VRAM
from tests.sd_scripts.full_size import DEV, inputs_of, load_random, training

GPU = torch.device("cuda")
RANK, STEPS = 16, 3


@pytest.fixture(autouse=True)
def all_memory_afterwards() -> Iterator[None]:
    yield
    gc.collect()
    torch.cuda.empty_cache()
    torch.cuda.set_per_process_memory_fraction(1.0)


@pytest.mark.parametrize(("pixels", "batch"), [(1024, 1), (512, 4)])
@pytest.mark.parametrize("vram", [size for size in VRAM if size != "auto"])
def test_a_training_does_not_run_out_of_memory(vram: str, pixels: int, batch: int, tmp_path: Path) -> None:
    total = torch.cuda.get_device_properties(GPU).total_memory
    budget = tiers.budget(vram, free=None)
    assert budget is not None
    assert budget.chosen < total, f"this row needs a GPU of {vram} GB"
    run = training(pixels=pixels, batch=batch, rank=RANK)
    plan = tiers.choose(run, settled={}, budget=budget)
    assert plan.footprint.total <= budget.chosen
    print(tiers.line(run, plan, budget))
    torch.cuda.set_per_process_memory_fraction(budget.chosen / total)
    torch.cuda.reset_peak_memory_stats()

    flux = load_random(DEV, plan.tier, device=GPU, folder=tmp_path)
    network = LoRANetwork(transformer=flux, clip=None, rank=RANK, alpha=RANK, seed=0).to(GPU)
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-4, fused=True)
    given = inputs_of(DEV, pixels=pixels, batch=batch, device=GPU)
    for _ in range(STEPS):
        with torch.autocast("cuda", torch.bfloat16):
            velocity = flux(*given)
        loss = velocity.float().square().mean()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
    assert torch.isfinite(loss)
    peak = torch.cuda.max_memory_allocated()
    print(f"peak {peak / 1e9:.1f} GB of {plan.footprint.total / 1e9:.1f} GB estimated")
    # The peak is within the estimate, and not far below it: too high an estimate makes a training slower than needed.
    assert 0.85 * (plan.footprint.total - footprint.RESERVE) < peak <= plan.footprint.total
