# SPDX-License-Identifier: Apache-2.0
"""Tests of the command line client: its pure parts, and its verbs against a real daemon."""
