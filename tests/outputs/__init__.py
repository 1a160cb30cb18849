# SPDX-License-Identifier: Apache-2.0
"""Tests of what a job has written, as its user gets to see it."""
