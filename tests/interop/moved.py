# SPDX-License-Identifier: Apache-2.0
"""How far the weights of two LoRAs lie from each other, in the trainer's environment: the tests' own has no torch.

PYTHON moved.py ONE OTHER      prints the greatest difference of two numbers at the same place
"""

import sys

from safetensors.torch import load_file

one, other = map(load_file, sys.argv[1:])
assert one.keys() == other.keys()
print(max((one[key].float() - other[key].float()).abs().max().item() for key in one))
