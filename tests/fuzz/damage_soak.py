# SPDX-License-Identifier: Apache-2.0
"""Random damage to one home after another (`./dev soak damages`)."""

from __future__ import annotations

import shutil
import sys
import tempfile
import traceback
from pathlib import Path
from random import Random

from tests.fuzz import material
from tests.fuzz.damaged import Group
from tests.fuzz.served import Served

AT_ONCE = 10
"""Number of damaged files per home."""


def soak(seed: int, numbers: range) -> list[int]:
    """Returns the number of the first damage of each group that failed."""
    failed = []
    served = Served()
    template = Path(tempfile.mkdtemp(prefix="fg-"))
    try:
        material.make(template)
        for number in numbers[::AT_ONCE]:
            group = range(number, min(number + AT_ONCE, numbers.stop))
            if not plays(template, seed, group, served):
                failed.append(number)
    finally:
        shutil.rmtree(template)
    return failed if served.report() else [*failed, numbers.start]


def plays(template: Path, seed: int, numbers: range, served: Served) -> bool:
    """Whether everything holds. If not, prints the damage, the failure and the end of the daemon's log."""
    folder = Path(tempfile.mkdtemp(prefix="fg-"))
    told: list[str] = []
    try:
        Group(folder, template, served).play([Random(f"{seed} {number}") for number in numbers], told.append)
    except Exception:  # noqa: BLE001 - any exception is what the soak looks for
        log = folder / "daemon.log"
        said = log.read_text(errors="replace")[-4000:] if log.exists() else ""
        print(f"damages from {numbers.start} of seed {seed} FAILED\n{traceback.format_exc()}", file=sys.stderr)
        print("\n".join([*told, "--- fluxgymd", said]), file=sys.stderr, flush=True)
        return False
    finally:
        shutil.rmtree(folder)
    print(f"{numbers.start}: " + "; ".join(told), flush=True)
    return True
