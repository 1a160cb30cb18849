# SPDX-License-Identifier: Apache-2.0
"""Tests of fluxgymd/snapshots: the program that takes a snapshot of a dataset for the daemon."""
