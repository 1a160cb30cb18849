# SPDX-License-Identifier: Apache-2.0
"""What `conftest.py` promises: where CI looks, a skipped test and an empty run are red."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

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
        (SKIPPED_MODULE, 2, 5),  # pytest's 5: no test was run
        (EMPTY, 5, 5),
    ],
)
def test_a_skip_is_red_in_ci(tmp_path: Path, checkout: Path, source: str, in_ci: int, elsewhere: int) -> None:
    (tmp_path / "test_one.py").write_text(source)
    options = ["-p", "tests.conftest", "-p", "no:cacheprovider", "--rootdir", str(tmp_path), "-c", "/dev/null"]
    command = [sys.executable, "-m", "pytest", *options, str(tmp_path)]
    for ci, status in (("true", in_ci), ("", elsewhere)):
        ran = subprocess.run(command, cwd=checkout, env={**os.environ, "CI": ci}, capture_output=True, text=True)
        assert ran.returncode == status, ran.stdout
