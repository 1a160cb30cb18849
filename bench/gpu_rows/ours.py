# SPDX-License-Identifier: Apache-2.0
"""A worker that runs our trainer's program as a user would, on weights that are made on the device.

The model's file has a header and a hole; the numbers that the trainer would read from the hole are drawn instead. The
beginning of each step is marked. All else is the trainer's own: flags, preflight, caches, batches, step, report.
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path.insert(1, str(ROOT / "sd-scripts"))

import torch  # noqa: E402
from job import Job, serve  # noqa: E402
from marks import Marks, Measured  # noqa: E402
from weights import RandomWeights  # noqa: E402

import flux_train_network  # noqa: E402
from library.compute import compile_choice  # noqa: E402
from library.files import safetensors_file, safetensors_header  # noqa: E402
from library.memory.choices import Choices  # noqa: E402
from library.train import preflight, training  # noqa: E402
from library.train.preflight import Inputs  # noqa: E402
from library.train.stepper import Stepper  # noqa: E402


class Watched:
    """What the row changes in the trainer, and what it records of it."""

    def __init__(self, job: Job) -> None:
        self.checkpointed: int | None = job["checkpointed"]
        self.marks = Marks(warm_up=job["warm_up"], steps=job["steps"])
        self.weights: RandomWeights | None = None
        self.flags: list[str] = job["flags"]
        self.choices: Choices | None = None

    def check(self, *arguments: Any, **options: Any) -> Inputs:
        """The preflight, with the row's choices. There is no flag for a share of checkpointed blocks. Other choices
        depend on free memory, which the previous process may not have released yet."""
        inputs: Inputs = CHECK(*arguments, **options)
        if self.checkpointed is None:
            return inputs
        choices = dataclasses.replace(
            inputs.choices,
            checkpointed_blocks=self.checkpointed,
            base="fp8" if "--fp8_base" in self.flags else "full",
            blocks_to_swap=0,
        )
        return dataclasses.replace(inputs, choices=choices)

    def stream(self, path: Path, **_: Any) -> Iterator[tuple[str, torch.Tensor, None]]:
        """The tensors that the trainer would read from the model's file, by name, drawn instead."""
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        shapes = safetensors_header.read_shapes(path, "model")
        self.weights = RandomWeights(shapes, device=device, dtype=torch.bfloat16)
        for name, tensor in self.weights.items():
            yield name, tensor, None

    def told(self) -> dict[str, Any]:
        """The checksum of the weights, and the trainer's choices. Raises RuntimeError if blocks should have been
        compiled but were not."""
        assert self.weights is not None
        assert self.choices is not None
        if "--compile" in self.flags and self.choices.compile == compile_choice.NO:
            raise RuntimeError("the trainer continued without compiled blocks")
        return {"checksum": self.weights.checksum, "choices": dataclasses.asdict(self.choices)}


CHECK, MICRO_STEP = preflight.check, Stepper.micro_step


def run(job: Job) -> dict[str, Any]:
    watched = Watched(job)

    def marked(stepper: Stepper, *arguments: Any, **options: Any) -> torch.Tensor:
        watched.marks.step()
        loss = MICRO_STEP(stepper, *arguments, **options)
        watched.marks.loss(loss)
        watched.choices = stepper.choices
        return loss

    sys.argv[1:] = job["flags"]
    with (
        mock.patch.object(training.preflight, "check", watched.check),
        mock.patch.object(safetensors_file, "stream", watched.stream),
        mock.patch.object(Stepper, "micro_step", marked),
    ):
        try:
            flux_train_network.main()
        except Measured:
            return {**watched.marks.result(), **watched.told()}
    raise RuntimeError("the trainer ended before all steps were done")


if __name__ == "__main__":
    serve(run)
