# SPDX-License-Identifier: Apache-2.0
"""Tests of optimizers, learning rates and averages."""
