# SPDX-License-Identifier: Apache-2.0
"""The test files that a change can reach, for `./dev test --changed`: `python -m tests.changed [COMMIT]`.

The change is the difference between COMMIT and the working tree, new files included. COMMIT defaults to the point
where this branch left its upstream, or else `main`; on `main` without an upstream, to the last commit.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

from tests.harness.reach import Tree, reached_by
from tests.harness.waiting import DEADLINE_SECONDS

ROOT = Path(__file__).resolve().parent.parent

EVERYTHING = ("pyproject.toml", "dev")
"""These files build the environments and hold the settings of every tool, so a change to them selects every test."""
ALWAYS = (
    *("tests/test_linters.py", "tests/test_import_rules.py", "tests/test_import_cycles.py"),
    *("tests/test_wait_rules.py", "tests/test_promises.py"),
)
"""These tests read the whole tree, so every change selects them."""
UNREAD = (".py", ".md", "LICENSE")
"""A changed file with one of these endings that no test reaches selects nothing: only people or benches read it."""
NAMED_ONLY = ("tests/interop/", "tests/sd_scripts/on_gpu/")
"""pytest runs these folders only when they are named on its command line (pyproject.toml)."""


def reachable(tree: Tree, changed: Iterable[str]) -> list[str]:
    """Returns the test files that these changes can reach, sorted."""
    changes = set(changed)
    tests = sorted(path for path in tree.texts if _is_test(path))
    if not changes:
        return []
    if changes & set(EVERYTHING):
        return tests
    reached = reached_by(tree, tests)
    known = set().union(*reached.values())
    if any(path not in known and not path.endswith(UNREAD) for path in changes):
        return tests  # the use of this file is unknown
    return [path for path in tests if path in ALWAYS or reached[path] & changes]


def _is_test(path: str) -> bool:
    name = path.rpartition("/")[2]
    return (
        path.startswith("tests/")
        and name.startswith("test_")
        and name.endswith(".py")
        and not path.startswith(NAMED_ONLY)
    )


def checkout_with(deleted: Iterable[str]) -> Tree:
    """Reads the working tree. A deleted file appears as an empty one, so that the tests that used it are reached."""
    listed = _git("ls-files", "-z", "--cached", "--others", "--exclude-standard").split("\0")
    texts = {name: _text(ROOT / name) for name in listed if name and (ROOT / name).is_file()}
    return Tree({**dict.fromkeys(deleted, ""), **texts})


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        return ""  # a binary file names no other file


def changed_since(commit: str) -> list[str]:
    tracked = _git("diff", "--name-only", "--no-renames", "-z", commit)
    new = _git("ls-files", "-z", "--others", "--exclude-standard")
    return sorted({name for name in f"{tracked}\0{new}".split("\0") if name})


def base() -> str:
    """Returns the commit where this branch began."""
    for branch in ("@{upstream}", "origin/HEAD", "main"):
        found = subprocess.run(
            ["git", "merge-base", "HEAD", branch], cwd=ROOT, capture_output=True, text=True, timeout=DEADLINE_SECONDS
        )
        if found.returncode == 0:
            return found.stdout.strip()
    return "HEAD"


def _git(*arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=ROOT, stdout=subprocess.PIPE, text=True, timeout=DEADLINE_SECONDS)
    if done.returncode != 0:
        sys.exit(1)  # git has printed the reason
    return done.stdout


def main() -> None:
    commit = sys.argv[1] if len(sys.argv) > 1 else base()
    changes = changed_since(commit)
    tree = checkout_with(changes)
    tests = reachable(tree, changes)
    count = sum(map(_is_test, tree.texts))
    print(f"{len(changes)} files changed since {commit[:12]}: {len(tests)} of {count} test files", file=sys.stderr)
    print("\n".join(tests))


if __name__ == "__main__":
    main()
