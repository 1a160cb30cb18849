# SPDX-License-Identifier: Apache-2.0
"""Tests of work that may block, hang or fail."""
