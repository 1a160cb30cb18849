# SPDX-License-Identifier: Apache-2.0
"""Tests of what is computed once before a training."""
