# SPDX-License-Identifier: Apache-2.0
"""Results of kohya-ss/sd-scripts' own modules (commit 48d368f), recorded once by a script that called them."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

from library.options.arguments import parse
from library.options.options import Options

REQUIRED = (
    "--pretrained_model_name_or_path f --clip_l c --t5xxl t --ae a --dataset_config d --output_dir o "
    "--network_module networks.lora_flux --output_name n "
)


def recorded(name: str) -> Any:
    """The content of tests/sd_scripts/upstream/sd-scripts-NAME.json."""
    return json.loads((Path(__file__).parent / "upstream" / f"sd-scripts-{name}.json").read_text(encoding="utf-8"))


def options(*words: str) -> Options:
    """The options of a command line with the required flags and these words."""
    return parse([*shlex.split(REQUIRED), *words])
