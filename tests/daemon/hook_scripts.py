# SPDX-License-Identifier: Apache-2.0
"""Hooks that store what they receive."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.daemon.running import write_script
from tests.harness.waiting import until


def keeps(folder: Path, name: str) -> Path:
    """A hook that stores the object it receives in `name`.json."""
    return write_script(folder / name, f"cat > {folder}/{name}.new && mv {folder}/{name}.new {folder}/{name}.json")


def kept(folder: Path, name: str) -> Any:
    file = folder / f"{name}.json"
    until(file.exists, what=f"the hook {name} to be called")
    return json.loads(file.read_text())
