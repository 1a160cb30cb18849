# SPDX-License-Identifier: Apache-2.0
"""Runs `PYTHON PROGRAM FLAGS...` and reports at exit whether it holds process groups. test_processes.py starts it."""

from __future__ import annotations

import atexit
import gc
import sys
from pathlib import Path


def tell() -> None:
    from torch import distributed

    from library.train.processes import Processes

    gc.unfreeze()  # the program hides its objects from the collector at exit
    left = [each for each in gc.get_objects() if isinstance(each, Processes) and each._control is not None]
    held = distributed.is_initialized() or left
    print("groups are held" if held else "groups were let go", file=sys.stderr, flush=True)


def main(program: Path) -> None:
    sys.path.insert(0, str(program.parent))
    import flux_train_network

    atexit.register(tell)
    flux_train_network.main()


if __name__ == "__main__":
    sys.argv = sys.argv[2:]
    main(Path(sys.argv[0]))
