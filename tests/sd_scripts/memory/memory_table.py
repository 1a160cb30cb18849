# SPDX-License-Identifier: Apache-2.0
"""The table of docs/trainer.md, Memory: how FLUX.1 dev is trained at rank 16 within each --vram.

PYTHONPATH=sd-scripts .venv-trainer/bin/python -m tests.sd_scripts.memory.memory_table --write
"""

from __future__ import annotations

import argparse
from pathlib import Path

from library.memory import tiers
from library.memory.footprint import Tier
from library.memory.tiers import GB
from library.options.options import VRAM
from tests.sd_scripts.full_size import training

PAGE = Path(__file__).resolve().parents[3] / "docs" / "trainer.md"
BEGIN, END = "<!-- memory: begin -->", "<!-- memory: end -->"
SIZES = [(pixels, batch) for pixels in (512, 768, 1024) for batch in (1, 4)]


def table() -> str:
    """The lines between the markers."""
    head = "| `--vram` | " + " | ".join(f"{pixels} px, batch {batch}" for pixels, batch in SIZES) + " |"
    rows = [
        f"| {vram} | " + " | ".join(_cell(vram, pixels, batch) for pixels, batch in SIZES) + " |" for vram in VRAM[1:]
    ]
    return "\n".join([head, "|---" * (len(SIZES) + 1) + "|", *rows])


def _cell(vram: str, pixels: int, batch: int) -> str:
    budget = tiers.budget(vram, free=None)
    assert budget is not None
    plan = tiers.choose(training(pixels=pixels, batch=batch), settled={}, budget=budget)
    if plan.footprint.total > budget.chosen:
        return f"- ({plan.footprint.total / GB:.1f})"
    return f"{_short(plan.tier)} ({plan.footprint.total / GB:.1f})"


def _short(tier: Tier) -> str:
    """A tier in short, such as `bf16`, `fp8 c46` (checkpointed blocks) or `fp8 c57 s10` (swapped blocks)."""
    words = ["fp8" if tier.base == "fp8" else "bf16"]
    if tier.checkpointed_blocks:
        words.append(f"c{tier.checkpointed_blocks}")
    if tier.blocks_to_swap:
        words.append(f"s{tier.blocks_to_swap}")
    return " ".join(words)


def filled(page: str) -> str:
    """The page with the current table between its markers. Raises ValueError if it has no markers."""
    before, found, rest = page.partition(BEGIN)
    _, closed, after = rest.partition(END)
    if not (found and closed):
        raise ValueError(f"docs/trainer.md has no markers {BEGIN} and {END}")
    return f"{before}{BEGIN}\n{table()}\n{END}{after}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="put it into the page")
    if parser.parse_args().write:
        PAGE.write_text(filled(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
    else:
        print(table())


if __name__ == "__main__":
    main()
