# SPDX-License-Identifier: Apache-2.0
"""Runs `PYTHON PROGRAM FLAGS...` such that only the second process cannot compile. test_processes.py starts it."""

from __future__ import annotations

import os
import sys
from pathlib import Path


def fail(*_: object) -> object:
    raise RuntimeError("this process has no compiler")


def main(program: Path) -> None:
    sys.path.insert(0, str(program.parent))
    import flux_train_network

    if os.environ["RANK"] == "1":
        from torch._dynamo.backends import registry

        registry.lookup_backend("aot_eager")  # registers all backends
        registry._COMPILER_FNS["aot_eager"] = fail
    flux_train_network.main()


if __name__ == "__main__":
    sys.argv = sys.argv[2:]
    main(Path(sys.argv[0]))
