# SPDX-License-Identifier: Apache-2.0
"""Asks a training whether anything would stop it, as --check_job does."""

from __future__ import annotations

import json
from typing import Any

from library.check import job_check
from library.options.arguments import read
from tests.sd_scripts.running import Settings

Answer = dict[str, Any]
FORMAT = {"format", "problems", "warnings", "plan", "state", "files"}


def ask(settings: Settings, words: str = "", *, question: str = "--check_job") -> Answer:
    """The answer to --check_job (or --plan), computed in this process."""
    line = read([*settings.plus(words).arguments(), question])
    found: Answer = json.loads(job_check.answer(line, processes=1))
    assert set(found) == FORMAT
    for one in [*found["problems"], *found["warnings"]]:
        assert set(one) == {"kind", "setting", "sentence", "path"}
        assert one["sentence"].endswith((".", "?")), one
    return found
