# SPDX-License-Identifier: Apache-2.0
"""Tests of `conftest.py` and pytest's settings: in CI a skipped test and an empty run fail; programs that tests start
inherit no ignored signal; a test that hangs ends the run."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.harness.signals import SHOW_IGNORED, ignoring, numbers
from tests.harness.waiting import DEADLINE_SECONDS

SKIPPED = "import pytest\n@pytest.mark.skip(reason='no reason')\ndef test_it(): pass\n"
SKIPPED_INSIDE = "import pytest\ndef test_it(): pytest.skip('no reason')\n"
SKIPPED_MODULE = "import pytest\npytest.importorskip('no_such_module')\ndef test_it(): pass\n"
PASSED = "def test_it(): pass\n"
XFAILED = "import pytest\n@pytest.mark.xfail(reason='known')\ndef test_it(): assert False\n"
EMPTY = "x = 1\n"


@pytest.mark.parametrize(
    ("source", "in_ci", "elsewhere"),
    [
        (PASSED, 0, 0),
        (XFAILED, 0, 0),
        (SKIPPED, 1, 0),
        (SKIPPED_INSIDE, 1, 0),
        (SKIPPED_MODULE, 2, 5),  # pytest exits with 5 if it ran no test
        (EMPTY, 5, 5),
    ],
)
def test_a_skip_fails_in_ci(tmp_path: Path, checkout: Path, source: str, in_ci: int, elsewhere: int) -> None:
    for ci, status in (("true", in_ci), ("", elsewhere)):
        ran = run_pytest(tmp_path, source, checkout=checkout, environ={"CI": ci})
        assert ran.returncode == status, ran.stdout


def test_programs_that_a_test_starts_find_no_signal_ignored(tmp_path: Path, checkout: Path) -> None:
    """A suite that `./dev test` runs in the background, or under nohup, starts with ignored signals."""
    shows = f"import subprocess\ndef test_it(): subprocess.run({list(SHOW_IGNORED)}, check=True, timeout=60)\n"
    ran = run_pytest(tmp_path, shows, "--capture=no", checkout=checkout, ignored_signals="INT QUIT PIPE")
    status = ran.stdout.replace("SigIgn", "\nSigIgn")  # pytest prints its own text before it on the same line
    assert not numbers(status, "SigIgn") & {signal.SIGINT, signal.SIGQUIT, signal.SIGPIPE}


def test_a_test_that_hangs_ends_the_run_and_shows_where(tmp_path: Path, checkout: Path) -> None:
    hangs = "import threading\ndef test_it(): waits_here()\ndef waits_here(): threading.Event().wait()\n"
    options = ["-c", str(checkout / "pyproject.toml"), "-o", "faulthandler_timeout=0.5"]
    ran = run_pytest(tmp_path, hangs, *options, checkout=checkout)
    assert ran.returncode == 1
    assert "in waits_here" in ran.stderr


def run_pytest(
    folder: Path,
    source: str,
    *options: str,
    checkout: Path,
    environ: dict[str, str] | None = None,
    ignored_signals: str = "",
) -> subprocess.CompletedProcess[str]:
    """Runs pytest on a file with this source, with our conftest.py, the given options and no settings file."""
    (folder / "test_one.py").write_text(source)
    ours = ["-p", "tests.conftest", "-p", "no:cacheprovider", "--rootdir", str(folder), "-c", "/dev/null"]
    command = [sys.executable, "-m", "pytest", *ours, *options, str(folder)]
    return subprocess.run(
        ignoring(ignored_signals, command) if ignored_signals else command,
        cwd=checkout,
        env={**os.environ, **(environ or {})},
        capture_output=True,
        text=True,
        timeout=DEADLINE_SECONDS,
    )
