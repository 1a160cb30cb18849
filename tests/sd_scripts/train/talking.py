# SPDX-License-Identifier: Apache-2.0
"""Exercises the communication between processes, without a training: each process writes what it got to
FOLDER/RANK.json. test_processes.py starts it."""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))
sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "sd-scripts"))

from library import world
from library.signals import StopRequest
from library.train import processes
from library.train.processes import Processes
from tests.harness.waiting import until


def gradients(together: Processes) -> dict[str, object]:
    """Adds up the gradients of four parameters, which both processes, the first, neither and the second have."""
    shapes = ((3,), (2, 2), (1,), (5,))
    parameters = [torch.nn.Parameter(torch.zeros(shape)) for shape in shapes]
    for index in (0, 3) if together.rank else (0, 1):
        parameters[index].grad = torch.full(shapes[index], 10.0**together.rank)
    loss = together.add_up(parameters, torch.tensor(0.25 * (1 + together.rank)))
    found = [None if parameter.grad is None else parameter.grad.tolist() for parameter in parameters]
    return {"gradients": found, "loss": loss.item()}


def stops(together: Processes) -> list[tuple[bool, int]]:
    """Agrees on stopping twice: before any process was asked to stop, and after the second one was."""
    stop = StopRequest()
    found = [(together.agree_to_stop(stop), stop.signum)]
    if together.rank == 1:
        stop.join(signal.SIGTERM)
    found.append((together.agree_to_stop(stop), stop.signum))
    return found


def main(folder: Path) -> None:
    own = world.of_environment(os.environ)
    processes.BUCKET_BYTES = 16  # so that there are several buckets
    together = Processes(processes.start_accelerator(own, mixed_precision="no"))
    mark, waiting = folder / "mark", folder / "waiting"
    if own.rank == 1:
        waiting.touch()
    with together.first_before_others():
        found_mark = mark.exists()
        if own.first:
            until(waiting.exists, what="the other process")
            mark.touch()
    seen = {
        "found_mark": found_mark,
        "of_first": together.of_first(("seed", own.rank)),
        "of_any": [together.of_any(own=own.rank == rank) for rank in (2, 1, 0)],
        **gradients(together),
        "stops": stops(together),
    }
    (folder / f"{own.rank}.json").write_text(json.dumps(seen))
    together.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
