# SPDX-License-Identifier: Apache-2.0
"""The modules that a source file imports, read from its syntax tree."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
ROOTS = (ROOT, ROOT / "sd-scripts")
"""The folders in which our packages are."""


def imported(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """The line and the name of each import: `a.b` for `import a.b` and for `from a.b import c`, and `a.b.c` as well
    if that is a module of ours. A relative import is `.`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            if node.module is None or node.level:
                yield node.lineno, "."  # ruff refuses it
            else:
                yield node.lineno, node.module
                # `from fluxgymd import core` imports fluxgymd.core as well
                names = (f"{node.module}.{alias.name}" for alias in node.names)
                yield from ((node.lineno, name) for name in names if is_module(name))


def is_module(name: str) -> bool:
    """Whether this is the name of a module or package of ours."""
    places = (root / name.replace(".", "/") for root in ROOTS)
    return any(place.is_dir() or place.with_suffix(".py").is_file() for place in places)
