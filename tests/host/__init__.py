# SPDX-License-Identifier: Apache-2.0
"""Tests of what the daemon asks of its machine."""
