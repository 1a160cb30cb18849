# SPDX-License-Identifier: Apache-2.0
"""How many operations a step is, and how many a device does a second at best. Pure.

A multiplication and an addition are two operations. Norms, activations and rotations are left out. What is computed
again because of checkpointing is left out too, as is usual for MFU (PaLM, arXiv 2204.02311, appendix B).
"""

from __future__ import annotations

from library.flux_model import FluxConfig

# Dense bf16, by the makers' data sheets. Several names may be in a device's name; the longest one counts.
PEAK_FLOPS = {"H200": 989e12, "H100 PCIe": 756e12, "H100": 989e12, "A100": 312e12, "L40S": 362e12, "RTX 4090": 165e12}


def of_step(config: FluxConfig, *, tokens: int, rank: int) -> float:
    """Operations of one picture's step, `tokens` being its text's too.

    Backward, frozen matrices give the input's gradient alone, as much as forward; the LoRA's give both; attention
    takes 5 products in place of 2.
    """
    width, mlp = config.hidden, config.mlp_hidden
    blocks = config.double_blocks + config.single_blocks
    matrices = 2 * (4 * width * width + 2 * width * mlp) * blocks * tokens
    modulations = 2 * width * width * (12 * config.double_blocks + 3 * config.single_blocks)
    attention = 4 * tokens * tokens * width * blocks
    double = (width + 3 * width) + 2 * width + 2 * (width + mlp)
    single = (width + 3 * width + mlp) + (2 * width + mlp)
    lora = 2 * rank * tokens * (double * config.double_blocks + single * config.single_blocks)
    return 2 * (matrices + modulations) + 3.5 * attention + 3 * lora


def peak(device: str) -> float | None:
    """Operations a second, None for a device that is not known."""
    known = [name for name in PEAK_FLOPS if name in device]
    return PEAK_FLOPS[max(known, key=len)] if known else None
