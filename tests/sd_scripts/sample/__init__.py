# SPDX-License-Identifier: Apache-2.0
"""Tests of sample pictures and their contact sheet."""
