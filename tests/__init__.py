# SPDX-License-Identifier: Apache-2.0
"""The tests; they mirror the tree, and nothing in them is mocked that can be had for real."""
