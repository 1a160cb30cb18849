# SPDX-License-Identifier: Apache-2.0
"""Results of kohya-ss/sd-scripts' own modules (commit 48d368f), recorded once by a script that called them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def recorded(name: str) -> Any:
    """The content of tests/sd_scripts/upstream/sd-scripts-NAME.json."""
    return json.loads((Path(__file__).parent / "upstream" / f"sd-scripts-{name}.json").read_text(encoding="utf-8"))
