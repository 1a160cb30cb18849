# SPDX-License-Identifier: Apache-2.0
"""The failpoints, read from the source, so that a new one must get a test."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

SHIM = "shim."
SCOPE = "scope."
BUS = "bus."
"""Failpoints that only a daemon with a user manager passes."""
EDIT = "edit."
RESTORE = "restore."
TRASH = "trash."
"""Failpoints of deleting a job that is in the trash."""
MACHINE = "machine."
TAKEOVER = "takeover."
STORED = "stored."
"""Failpoints of the stored datasets."""
STUCK = "stuck."
IMPORT = "import."
"""Failpoints of the importer of pictures, which is a program of its own (tests/pictures/test_importer.py)."""
ORIGIN = "origin."
"""Failpoints of copying another job's checkpoint."""
ELSEWHERE = (SHIM, SCOPE, BUS, EDIT, IMPORT, MACHINE, ORIGIN, RESTORE, STORED, STUCK, TAKEOVER, TRASH)
"""Failpoints that a job in a plain process does not pass between its submit and its removal."""
START = ("attempt.", "spawn.", "gate.", "watch.", "end.")
FILE = "file."
APPEND = ("journal.opened", "journal.written", "journal.synced", "event.")


@dataclass(frozen=True)
class Failpoint:
    name: str
    file: str
    line: int


def failpoints(root: Path = ROOT) -> list[Failpoint]:
    """Every call of `failpoint`, in the order of the files. Raises ValueError if a name is not a literal."""
    found = []
    for path in sorted((root / "fluxgymd").rglob("*.py")):
        for call in _calls(ast.parse(path.read_text())):
            where = f"{path.relative_to(root)}:{call.lineno}"
            match call.args:
                case [ast.Constant(value=str(name))]:
                    found.append(Failpoint(name, str(path.relative_to(root)), call.lineno))
                case _:
                    raise ValueError(f"{where}: the name of a failpoint must be a literal")
    return found


def _calls(tree: ast.AST) -> Iterator[ast.Call]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "failpoint":
            yield node


def names(*beginnings: str) -> list[str]:
    """The names that begin with one of these prefixes; without prefixes, all names."""
    return [point.name for point in failpoints() if point.name.startswith(beginnings or "")]
