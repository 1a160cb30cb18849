# SPDX-License-Identifier: Apache-2.0
"""Which kernel computes the attention, by GPU, number type and --deterministic, and that PyTorch really runs it."""

from __future__ import annotations

import json

import pytest
import torch
from torch.nn import functional

from library.compute import attention
from tests.sd_scripts.in_process import run
from tests.sd_scripts.running import Settings

CPU, TURING, AMPERE, ADA, HOPPER, B200, RTX_50 = (None, (7, 5), (8, 6), (8, 9), (9, 0), (10, 0), (12, 0))


@pytest.mark.parametrize(
    ("capability", "sixteen_bits", "deterministic", "chosen"),
    [
        (CPU, True, False, "sdpa"),
        (CPU, False, True, "sdpa"),
        (TURING, True, False, "efficient"),
        (TURING, True, True, "math"),
        (AMPERE, True, False, "flash"),
        (AMPERE, True, True, "flash"),
        (AMPERE, False, False, "efficient"),
        (AMPERE, False, True, "math"),
        (ADA, True, False, "flash"),
        (HOPPER, True, False, "cudnn"),
        (HOPPER, True, True, "flash"),
        (HOPPER, False, False, "efficient"),
        (B200, True, False, "cudnn"),
        (RTX_50, True, False, "flash"),
    ],
)
def test_the_fastest_available_kernel_is_chosen(
    capability: tuple[int, int] | None, sixteen_bits: bool, deterministic: bool, chosen: str
) -> None:
    here = attention.Circumstances(capability=capability, sixteen_bits=sixteen_bits, deterministic=deterministic)
    assert attention.choose(**here) == chosen
    assert attention.obstacle(chosen, **here) is None


def test_an_unusable_kernel_says_why() -> None:
    here = attention.Circumstances(capability=HOPPER, sixteen_bits=True, deterministic=True)
    assert "--deterministic forbids" in str(attention.obstacle("cudnn", **here))
    assert "--deterministic forbids" in str(attention.obstacle("efficient", **here))
    assert "bf16" in str(attention.obstacle("flash", **{**here, "sixteen_bits": False}))
    assert "Ampere" in str(attention.obstacle("flash", **{**here, "capability": TURING}))
    assert attention.obstacle("efficient", capability=CPU, sixteen_bits=True, deterministic=False) == (
        "needs an NVIDIA GPU"
    )


def kernels_used(name: str, *, deterministic: bool = False) -> set[str]:
    """The operations that PyTorch runs for one attention on the CPU, which supports flash and math."""
    q = torch.randn(1, 2, 8, 16)
    # acc_events: torch 2.11 warns unless it is told to keep events.
    profiler = torch.profiler.profile(acc_events=True)
    with attention.using(name, deterministic=deterministic), profiler as profile:
        functional.scaled_dot_product_attention(q, q, q)
    return {event.key for event in profile.key_averages()}


def test_the_chosen_kernel_is_used() -> None:
    flash, math = "aten::_scaled_dot_product_flash_attention_for_cpu", "aten::_scaled_dot_product_attention_math"
    assert flash in kernels_used("sdpa")
    assert flash in kernels_used("flash", deterministic=True)
    assert flash not in kernels_used("math")
    assert math in kernels_used("math")
    assert math in kernels_used("efficient")  # the CPU does not have it, so the next kernel in the list is used
    assert flash in kernels_used("sdpa"), "it is as it was before"


def test_a_state_records_the_kernel_and_a_missing_kernel_is_refused(settings: Settings) -> None:
    assert run(settings.plus("--attention math")).error is None
    state = settings.output_dir / "lora-000001-state"
    assert json.loads((state / "train_state.json").read_text())["choices"]["attention"] == "math"
    refused = run(settings.plus("--attention cudnn", output="refused"))
    advice = "use auto, and add --replan if a state requires this kernel"
    assert refused.error == f"--attention cudnn needs an NVIDIA GPU; {advice}"
