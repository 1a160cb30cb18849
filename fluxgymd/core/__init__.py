# SPDX-License-Identifier: Apache-2.0
"""Decisions: pure functions over facts. Nothing here does I/O or asks for the time."""
