# SPDX-License-Identifier: Apache-2.0
"""The tests. Their folders mirror the source tree, and they mock nothing that can be run for real."""
