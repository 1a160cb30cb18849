# SPDX-License-Identifier: Apache-2.0
"""Tests of the snapshot of a dataset, as the program that the daemon runs."""
