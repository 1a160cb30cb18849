# SPDX-License-Identifier: Apache-2.0
"""Tests of fluxgymd/gpus: the real pynvml on a small NVML library that the tests build."""
