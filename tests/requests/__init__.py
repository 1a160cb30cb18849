# SPDX-License-Identifier: Apache-2.0
"""Tests of what clients ask for, without a running daemon."""
