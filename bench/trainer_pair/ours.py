# SPDX-License-Identifier: Apache-2.0
"""Runs our trainer in turns, and keeps what its batches are made of.

    ours.py DRAWS FLAGS ...

The file DRAWS gets the latents, the noise, the noise level and the embeddings of each step. A batch is a function of
its position, so making it once beforehand changes nothing.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Generator, Iterable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path.insert(1, str(ROOT / "sd-scripts"))

import torch  # noqa: E402
from gate import Gate  # noqa: E402

import flux_train_network  # noqa: E402
from library.flow import batch_loss  # noqa: E402
from library.flow.batches import Batch, Position  # noqa: E402
from library.train import loop  # noqa: E402

KEPT = ("latents_BChw", "noise_BChw", "sigma_B")
TEXTS = {"hidden_BTX": "hidden", "pooled_BV": "pooled"}


def draw(batch: Batch) -> dict[str, torch.Tensor]:
    """What the other trainer has to draw for this batch."""
    drawn = {name: getattr(batch, name) for name in KEPT}
    return drawn | {name: batch.texts[ours] for name, ours in TEXTS.items()}


def main(draws: Path, flags: list[str]) -> None:
    gate, prefetch, loss_of = Gate(), loop.prefetch, batch_loss.loss_of

    def kept(
        make: Callable[[Position], Batch], wanted: Iterable[Position], *, threads: int
    ) -> Generator[Batch, None, None]:
        wanted = list(wanted)
        batches = [make(position) for position in wanted]
        torch.save([draw(batch) for batch in batches], draws)
        return prefetch(make, wanted, threads=threads)

    def in_turn(batch: Batch, **parts: Any) -> torch.Tensor:
        gate.turn()
        loss = loss_of(batch, **parts)
        gate.loss(loss.item())
        return loss

    loop.prefetch, batch_loss.loss_of = kept, in_turn
    sys.argv[1:] = flags
    flux_train_network.main()


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
