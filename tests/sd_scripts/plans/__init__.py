# SPDX-License-Identifier: Apache-2.0
"""Trains what --plan has announced, and compares."""
