# SPDX-License-Identifier: Apache-2.0
"""Tests of the jobs in memory, without a running daemon."""
