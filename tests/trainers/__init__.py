# SPDX-License-Identifier: Apache-2.0
"""Tests of what stands between a job and its trainer: settings, command line, files, progress."""
