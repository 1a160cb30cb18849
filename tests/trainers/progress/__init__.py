# SPDX-License-Identifier: Apache-2.0
"""Tests of the progress that trainers record or print."""
