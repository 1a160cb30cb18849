# SPDX-License-Identifier: Apache-2.0
"""One training from start to end: its parts, its steps and its processes."""
