# SPDX-License-Identifier: Apache-2.0
"""Measures how far the weights of two LoRAs differ. It runs in the trainer's environment, where torch is.

PYTHON moved.py ONE OTHER      prints the greatest difference of two corresponding weights
"""

import sys

from safetensors.torch import load_file

one, other = map(load_file, sys.argv[1:])
assert one.keys() == other.keys()
print(max((one[key].float() - other[key].float()).abs().max().item() for key in one))
