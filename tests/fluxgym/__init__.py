# SPDX-License-Identifier: Apache-2.0
"""Tests of the modules that the programs share."""
