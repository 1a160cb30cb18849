# SPDX-License-Identifier: Apache-2.0
"""Tests of --check_job and of everything else that is refused before a training."""
