# SPDX-License-Identifier: Apache-2.0
"""Tests of what happens to a job without a client's call, without a running daemon."""
