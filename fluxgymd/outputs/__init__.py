# SPDX-License-Identifier: Apache-2.0
"""Reads what a job has written: its files, samples, measurements and log."""
