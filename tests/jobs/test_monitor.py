# SPDX-License-Identifier: Apache-2.0
"""monitor.log: each line is a sentence."""

import asyncio
import re
from pathlib import Path

import pytest

from fluxgymd.jobs import monitor
from fluxgymd.store.home import JobFolder


@pytest.mark.parametrize(
    ("clause", "sentence"),
    [
        ("attempt 1 is starting as fluxgym-a.001", "Attempt 1 is starting as fluxgym-a.001."),
        (
            "attempt 1 ended, failed: It exited with status 3.",
            "Attempt 1 ended, failed: It exited with status 3.",
        ),
        ("watchdog: stuck.\n    Its log did not grow.", "Watchdog: stuck.\n    Its log did not grow."),
        ("", "."),
    ],
)
def test_a_clause_becomes_a_sentence(clause: str, sentence: str) -> None:
    assert monitor.sentence(clause) == sentence


def test_a_line_has_its_time(tmp_path: Path) -> None:
    folder = JobFolder(tmp_path)
    asyncio.run(monitor.note(folder, "the trainer is running as process 7"))
    line = folder.monitor_log.read_text()
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d[+-]\d{4}  The trainer is running as process 7\.\n", line)
