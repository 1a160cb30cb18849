# SPDX-License-Identifier: Apache-2.0
"""Decisions about space on the disk."""
