# SPDX-License-Identifier: Apache-2.0
"""Checks that the tests named in docs/survival.md exist."""

from __future__ import annotations

import re
from pathlib import Path


def test_each_test_that_the_table_names_exists(checkout: Path) -> None:
    page = (checkout / "docs" / "survival.md").read_text()
    sources = "\n".join(path.read_text() for path in (checkout / "tests").rglob("test_*.py"))
    tests = set(re.findall(r"`(test_\w+)`", page))
    assert len(tests) > 10
    assert [name for name in sorted(tests) if f"def {name}(" not in sources] == []
    files = re.findall(r"tests/[\w/]+\.py", page)
    assert [name for name in files if not (checkout / name).is_file()] == []
