# SPDX-License-Identifier: Apache-2.0
"""How a transformer is computed, whatever its family: kernels, compilation, block swap, 8-bit weights."""
