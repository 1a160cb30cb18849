# SPDX-License-Identifier: Apache-2.0
"""Prints the trainer's own tables as JSON, so that a draw can have every setting that the trainer knows.

    PYTHON ask_trainer.py sd-scripts

The trainer's Python runs it in a separate process. The flags come from the daemon's describe.py.
"""

import importlib.util
import json
import sys
from pathlib import Path
from typing import Any


def main(trainer: Path) -> None:
    sys.path.insert(0, str(trainer))
    from library.data import dataset_keys
    from library.options import network_settings

    tables = {
        "datasetKeys": {name: key.read is dataset_keys.off for name, key in dataset_keys.KEYS.items()},
        "networkArgs": {name: arg.field is None for name, arg in network_settings.ARGS.items()},
        "optimizers": optimizers(),
        "schedules": schedules(),
    }
    print(json.dumps(tables))


def optimizers() -> dict[str, Any]:
    """Returns name -> the package that the optimizer lacks, or None. Includes the classes of torch.optim, which need
    no entry in the trainer's table."""
    import torch.optim

    from library.optim import optimizer

    classes = {
        f"torch.optim.{name}": None
        for name in torch.optim.__all__
        if isinstance(getattr(torch.optim, name), type) and name != "Optimizer"
    }
    named = {}
    for name, (path, package) in optimizer.NAMED.items():
        there = importlib.util.find_spec(path.partition(".")[0]) is not None or name in optimizer.LIKE_ADAMW
        named[name] = None if there else package
    return named | classes


def schedules() -> list[str]:
    """Returns the classes of torch.optim.lr_scheduler. sd-scripts' own names are the choices of --lr_scheduler."""
    from torch.optim import lr_scheduler

    return [name for name in lr_scheduler.__all__ if name not in ("LRScheduler", "_LRScheduler")]


if __name__ == "__main__":
    main(Path(sys.argv[1]))
