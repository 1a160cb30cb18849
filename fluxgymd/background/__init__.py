# SPDX-License-Identifier: Apache-2.0
"""How the daemon does work that may block, hang or fail: lanes, turns, tasks, and helper programs."""
