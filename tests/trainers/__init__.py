# SPDX-License-Identifier: Apache-2.0
"""Tests of fluxgymd/trainers, the layer between a job and its trainer: settings, command line, files, progress."""
