# SPDX-License-Identifier: Apache-2.0
"""Tests of the GPUs: the real pynvml against a small NVML that the tests build."""
