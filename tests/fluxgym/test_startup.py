# SPDX-License-Identifier: Apache-2.0
"""What the programs do first: they drop empty variables, and use UTF-8 for file names whatever the locale is."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from fluxgym import startup
from tests.fluxgym.surroundings import ASCII, EMPTY
from tests.harness.waiting import DEADLINE_SECONDS

ROOT = Path(__file__).resolve().parents[2]
EMPTY_OF_OURS = ("FLUXGYM_HOME", "FLUXGYM_SOCKET", "FLUXGYM_SUPERVISOR", "FLUXGYM_STOP_LIMIT_SECONDS")


def run(*words: str, env: dict[str, str], cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *words],
        env={"PYTHONPATH": str(ROOT), **env},
        cwd=cwd,
        capture_output=True,
        encoding="utf-8",
        timeout=DEADLINE_SECONDS,
        check=False,
    )


def test_empty_variables_are_removed_except_those_that_hide_gpus() -> None:
    environ = {"HOME": "", "FLUXGYM_HOME": "", "CUDA_VISIBLE_DEVICES": "", "PATH": "/bin"}
    startup.drop_empty(environ)
    assert environ == {"CUDA_VISIBLE_DEVICES": "", "PATH": "/bin"}


def test_the_locale_of_the_test_has_no_utf_8() -> None:
    """Otherwise the next test would prove nothing."""
    asked = run("-c", "import sys; print(sys.getfilesystemencoding())", env=ASCII)
    assert asked.stdout == "ascii\n"


@pytest.mark.parametrize("home", ["/hé", "/家"])
def test_paths_do_not_depend_on_the_locale(home: str) -> None:
    shown = run("-m", "fluxgymctl", "config", "--json", env={**ASCII, "FLUXGYM_HOME": home})
    assert shown.returncode == 0, shown.stderr
    assert f'"value":"{home}"' in shown.stdout


def test_a_path_that_is_not_utf_8_is_refused_in_one_sentence_in_every_locale() -> None:
    for locale in ({}, ASCII):
        for program in (("-m", "fluxgymctl", "list"), ("-m", "fluxgymd")):
            refused = run(*program, env={**locale, "FLUXGYM_HOME": os.fsdecode(b"/h\xe9")})
            assert refused.returncode == 2
            name = program[1]
            assert refused.stderr.startswith(f"{name}: FLUXGYM_HOME: home is /h\\xe9, which is not UTF-8; "), refused
            assert refused.stderr.count("\n") == 1


def test_every_variable_may_be_empty() -> None:
    shown = run("-m", "fluxgymctl", "config", env=dict.fromkeys((*EMPTY, *EMPTY_OF_OURS), ""))
    assert (shown.returncode, shown.stderr) == (0, "")


def test_a_module_in_the_working_directory_is_not_imported(tmp_path: Path) -> None:
    for name in ("click", "difflib", "json", "msgspec", "random", "socket", "struct"):
        (tmp_path / f"{name}.py").write_text(f"raise SystemExit('{name} of the working directory was imported')\n")
    shown = run("-m", "fluxgymctl", "--version", env={}, cwd=tmp_path)
    assert (shown.returncode, shown.stderr) == (0, "")
