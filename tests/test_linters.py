# SPDX-License-Identifier: Apache-2.0
"""The linters and type checkers run as tests, so that one command checks everything."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.harness.waiting import BUILD_SECONDS

ROOT = Path(__file__).resolve().parent.parent
TRAINER_PYTHON = ROOT / ".venv-trainer" / "bin" / "python"
LICENCE_LINE = "# SPDX-License-Identifier: Apache-2.0"
OTHER_LICENCE_LINES = {
    ".ts": "// SPDX-License-Identifier: Apache-2.0",
    ".tsx": "// SPDX-License-Identifier: Apache-2.0",
    ".css": "/* SPDX-License-Identifier: Apache-2.0 */",
}
STRICT = ["fluxgym", "fluxgymd", "fluxgymctl", "fluxgymweb", "tests", "build_page.py", "hatch_build.py"]


def run(*command: str | Path, cwd: Path = ROOT, input_text: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=cwd, input=input_text, capture_output=True, text=True, timeout=BUILD_SECONDS)


def assert_clean(completed: subprocess.CompletedProcess[str]) -> None:
    assert completed.returncode == 0, f"{completed.stdout}{completed.stderr}"


def tool(name: str) -> list[str]:
    return [sys.executable, "-m", name]


def files_of_the_project() -> list[Path]:
    """Returns the files that git tracks, and new files that it does not ignore."""
    listed = run("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard")
    assert_clean(listed)
    paths = [ROOT / name for name in listed.stdout.split("\0") if name]
    return [path for path in paths if path.is_file()]


def licence_problem(path: Path, text: str) -> str | None:
    """Returns an error unless the first line, or the line below `#!`, is the licence line; None if it is."""
    first = [line for line in text.splitlines() if not line.startswith("#!")][:1]
    wanted = OTHER_LICENCE_LINES.get(path.suffix, LICENCE_LINE)
    return None if first == [wanted] else f"{path}: the first line must be {wanted!r}"


def has_licence_line(path: Path) -> bool:
    if path.is_relative_to(ROOT / "tests" / "data") and path.suffix == ".sh":
        return False  # train.sh as the older program writes it: test data, not one of our programs
    suffixes = (".py", ".sh", ".service", ".socket", ".slice", *OTHER_LICENCE_LINES)
    return path.suffix in suffixes or path in (ROOT / "dev", ROOT / ".ci/run")


def test_ruff_finds_nothing() -> None:
    assert_clean(run(*tool("ruff"), "check", "."))


def test_ruff_would_reformat_nothing() -> None:
    assert_clean(run(*tool("ruff"), "format", "--check", "."))


@pytest.mark.parametrize(
    ("path", "source", "rule"),
    [
        ("fluxgym/x.py", '"""X."""\nfrom . import names\n', "TID252"),
        ("fluxgymd/x.py", '"""X."""\ntry:\n    f()\nexcept Exception:\n    pass\n', "BLE001"),
        ("fluxgymd/x.py", '"""X."""\n\n\ndef f(x: bool) -> None: ...\n', "FBT001"),
        ("fluxgymd/x.py", "x = 1\n", "D100"),
        ("sd-scripts/x.py", '"""X."""\nimport os\n', "F401"),
    ],
)
def test_ruff_finds_what_it_is_asked_to_find(path: str, source: str, rule: str) -> None:
    checked = run(*tool("ruff"), "check", "--output-format=concise", "--stdin-filename", path, "-", input_text=source)
    assert checked.returncode == 1
    assert rule in checked.stdout


def test_the_types_of_the_daemon_the_clients_and_the_tests_are_right() -> None:
    assert_clean(run(*tool("mypy"), "--strict", *STRICT))


def test_the_types_of_the_trainer_are_right() -> None:
    # Run mypy in the trainer's folder, which is its import path, and with the packages of its environment.
    options = [f"--python-executable={TRAINER_PYTHON}", f"--config-file={ROOT / 'pyproject.toml'}"]
    assert_clean(run(*tool("mypy"), *options, ".", cwd=ROOT / "sd-scripts"))


def test_mypy_finds_an_untyped_function(tmp_path: Path) -> None:
    bad = tmp_path / "bad.py"
    bad.write_text("def f(x):\n    return x\n")
    checked = run(*tool("mypy"), "--strict", "--config-file", ROOT / "pyproject.toml", bad)
    assert checked.returncode == 1
    assert "no-untyped-def" in checked.stdout


@pytest.mark.parametrize("script", ["dev", ".ci/run"])
def test_shell_scripts_parse_and_can_be_run(script: str) -> None:
    assert_clean(run("sh", "-n", script))
    assert (ROOT / script).stat().st_mode & 0o111, f"{script} is not executable"


def test_each_file_names_its_licence() -> None:
    files = [path for path in files_of_the_project() if has_licence_line(path)]
    assert ROOT / "dev" in files
    problems = [licence_problem(path.relative_to(ROOT), path.read_text()) for path in files]
    assert not list(filter(None, problems))


@pytest.mark.parametrize(
    ("text", "good"),
    [
        (f"{LICENCE_LINE}\nx = 1\n", True),
        (f"#!/bin/sh\n{LICENCE_LINE}\n", True),
        ("", False),
        ("x = 1\n", False),
        (f'"""Docs."""\n{LICENCE_LINE}\n', False),
    ],
)
def test_a_missing_licence_line_is_found(text: str, good: bool) -> None:
    assert (licence_problem(Path("x.py"), text) is None) is good
