# SPDX-License-Identifier: Apache-2.0
"""Tests of the engine's parts that need no running daemon: the book, the hub, the view."""
