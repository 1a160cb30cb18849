# SPDX-License-Identifier: Apache-2.0
"""Tests of how a transformer is computed, on FLUX.1."""
