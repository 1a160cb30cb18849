# SPDX-License-Identifier: Apache-2.0
"""The packages that `./dev install` takes from the package index, for a machine without a network.

Packages with compiled code are provided as wheels, since building them takes minutes and further packages. A pure
Python package that is published only as source stays source: the machine's own pip must build it, as it would for a
user.
"""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

from tests.harness.waiting import BUILD_SECONDS

SOURCE_ONLY = "sdnotify"

_SCRIPT = f"""
set -eu
python=$1 folder=$2
shift 2
export PIP_USE_PEP517=1  # as in dev, which says why
"$python" -m pip wheel --quiet --wheel-dir "$folder" "$@"
rm "$folder"/{SOURCE_ONLY}-*.whl
"$python" -m pip download --quiet --no-deps --no-binary {SOURCE_ONLY} --dest "$folder" {SOURCE_ONLY}
"""


def needed(checkout: Path) -> list[str]:
    """What pip asks the index for, including the packages it builds with: those of this project, and setuptools (with
    an older pip also `wheel`) for sdnotify, which names none."""
    pyproject = tomllib.loads((checkout / "pyproject.toml").read_text())
    project = pyproject["project"]
    return [
        *pyproject["build-system"]["requires"],
        "setuptools",
        "wheel",
        *project["dependencies"],
        *project["optional-dependencies"]["systemd"],
        *project["optional-dependencies"]["web"],
        *project["optional-dependencies"]["web"],
    ]


def command(python: str, folder: str, requirements: list[str]) -> list[str]:
    """A command that puts the packages into the folder, built for this Python."""
    return ["sh", "-c", _SCRIPT, "sh", python, folder, *requirements]


def make(checkout: Path, folder: Path) -> None:
    """Puts the packages for this system and this Python into the folder."""
    subprocess.run(command(sys.executable, str(folder), needed(checkout)), check=True, timeout=BUILD_SECONDS)
    assert list(folder.glob(f"{SOURCE_ONLY}-*.tar.gz"))
