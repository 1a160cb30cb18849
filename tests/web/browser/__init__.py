# SPDX-License-Identifier: Apache-2.0
"""Tests of the page in Debian's Chromium, as somebody uses it (docs/decisions/0117-browser-tests.md)."""
