# SPDX-License-Identifier: Apache-2.0
"""Tests with random settings. The real daemon trains each draw twice, once undisturbed and once interrupted."""
