# SPDX-License-Identifier: Apache-2.0
"""The script that is started; as in kohya-ss/sd-scripts, all of it is in train_network.py."""

import runpy
from pathlib import Path

runpy.run_path(str(Path(__file__).with_name("train_network.py")), run_name="__main__")
