# SPDX-License-Identifier: Apache-2.0
"""Tests of fluxgymd/watchdog on real processes: what it sees and what it does."""
