# SPDX-License-Identifier: Apache-2.0
"""Tests of FLUX.1's models and their files."""
