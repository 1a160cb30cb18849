# SPDX-License-Identifier: Apache-2.0
"""The trainer's parts, one idea a module. `training.py` holds the loop, which reads from top to bottom."""
