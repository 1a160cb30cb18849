# SPDX-License-Identifier: Apache-2.0
"""Command lines of the trainer with all flags that it requires."""

from __future__ import annotations

import shlex

from library.options.arguments import parse
from library.options.options import Options

REQUIRED = (
    "--pretrained_model_name_or_path f --clip_l c --t5xxl t --ae a --dataset_config d --output_dir o "
    "--network_module networks.lora_flux --output_name n "
)


def options(*words: str) -> Options:
    """The options of a command line with the required flags and these words."""
    return parse([*shlex.split(REQUIRED), *words])
