# SPDX-License-Identifier: Apache-2.0
"""Compares two files that `ask_lora.py` wrote. It runs in the trainer's environment, since the tests' has no torch.

PYTHON compare.py ONE OTHER      prints JSON: the greatest difference, and the mean effect of the LoRA
"""

import json
import sys

from safetensors.torch import load_file

one, other = map(load_file, sys.argv[1:])
difference = (one["with"] - other["with"]).abs().max().item()
effect = (one["with"] - one["without"]).abs().mean().item()
print(json.dumps({"difference": difference, "effect": effect}))
