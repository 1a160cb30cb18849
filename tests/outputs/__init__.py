# SPDX-License-Identifier: Apache-2.0
"""Tests of reading what a job has written."""
