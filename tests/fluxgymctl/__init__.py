# SPDX-License-Identifier: Apache-2.0
"""Tests of the thin client: its pure parts, and its verbs against the real daemon."""
