# SPDX-License-Identifier: Apache-2.0
"""Copies the checkout, as if to another machine."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from tests.harness.waiting import BUILD_SECONDS


def copy_checkout(checkout: Path, target: Path) -> None:
    """Copies the project's files: those that git tracks, with local changes, and new ones that it does not ignore.
    The built web page, which git ignores, comes with them, so that an installation needs no Node."""
    listed = subprocess.check_output(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=checkout,
        text=True,
        timeout=BUILD_SECONDS,
    )
    static = [str(path.relative_to(checkout)) for path in (checkout / "fluxgymweb" / "static").rglob("*")]
    for name in [*listed.splitlines(), *static]:
        if (checkout / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(checkout / name, target / name)
