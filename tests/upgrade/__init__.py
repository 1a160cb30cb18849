# SPDX-License-Identifier: Apache-2.0
"""This version on what the versions before it left behind (tests/data/frozen)."""
