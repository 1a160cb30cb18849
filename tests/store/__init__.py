# SPDX-License-Identifier: Apache-2.0
"""Tests of the store: real files, a real full disk, real second processes."""
