# SPDX-License-Identifier: Apache-2.0
"""A worker's side of a row: with all that it needs imported it waits for its row, and writes what it found.

It uses no device before its row comes, since another row is measured until then.
"""

from __future__ import annotations

import json
import os
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

Job = dict[str, Any]


def serve(run: Callable[[Job], dict[str, Any]]) -> None:
    """Runs one row: reads it as a line of JSON, and writes the result, or `failed` with one sentence, to the file
    that the line names."""
    line = sys.stdin.readline()
    if not line:
        return
    job: Job = json.loads(line)
    try:
        found = run(job)
    except SystemExit as error:  # the program has printed why, and the bench has its output
        raise SystemExit(error.code or 1) from None
    except BaseException as error:  # noqa: BLE001 (any error that ends a training is the result of its row)
        traceback.print_exc()
        found = {"failed": _sentence(error)}
    part = Path(job["result"]).with_suffix(".part")
    part.write_text(json.dumps(found))
    part.rename(job["result"])
    sys.stdout.flush()
    os._exit(0)  # a compiler's processes and a GPU's context take seconds to clean up


def _sentence(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
