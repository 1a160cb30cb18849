# SPDX-License-Identifier: Apache-2.0
"""Tests of the pure core: facts in, decisions out."""
