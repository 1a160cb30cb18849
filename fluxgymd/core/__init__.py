# SPDX-License-Identifier: Apache-2.0
"""Decisions as pure functions of facts. Nothing in this package does I/O or reads a clock."""
