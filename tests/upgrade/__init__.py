# SPDX-License-Identifier: Apache-2.0
"""Tests of this version on homes and answers of earlier versions (tests/data/frozen)."""
