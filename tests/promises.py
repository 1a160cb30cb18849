# SPDX-License-Identifier: Apache-2.0
"""Which tests prove which promise of the README, told from their names: `python -m tests.promises [NUMBER]`.

A test is named after its promise, `test_promise_5_...`, or after several, `test_promises_1_to_5_and_8_...`. So the
table needs no upkeep, and `pytest -k promise_5_` runs all tests of promise 5 (tests/conftest.py).
"""

import ast
import re
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

FOLDER = Path(__file__).resolve().parent
_NAME = re.compile(r"test_promise(?P<one>_\d+)_|test_promises(?P<several>(?:_(?:\d+|to|and))+)_")


def named(test: str) -> set[int]:
    """Returns the numbers of the promises in a test's name."""
    found = _NAME.match(test)
    if found is None:
        return set()
    numbers: set[int] = set()
    last, through = 0, False
    for word in (found["one"] or found["several"]).split("_")[1:]:
        if word.isdigit():
            numbers |= set(range(last + 1 if through else int(word), int(word) + 1))
            last, through = int(word), False
        else:
            through = word == "to"
    return numbers


def table() -> dict[int, list[str]]:
    """Returns the tests of each promise, as `path::name`."""
    found: dict[int, list[str]] = defaultdict(list)
    for path in sorted(FOLDER.rglob("test_*.py")):
        for name in _tests(path):
            for number in named(name):
                found[number].append(f"{path.relative_to(FOLDER.parent)}::{name}")
    return dict(sorted(found.items()))


def _tests(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_"):
            yield node.name


def main() -> None:
    wanted = {int(word) for word in sys.argv[1:]}
    for number, tests in table().items():
        if not wanted or number in wanted:
            print(f"promise {number}: {len(tests)} tests", *tests, sep="\n    ")


if __name__ == "__main__":
    main()
