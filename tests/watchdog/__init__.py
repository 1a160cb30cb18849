# SPDX-License-Identifier: Apache-2.0
"""Tests of the watchdog: what it sees of real processes, and what it does."""
