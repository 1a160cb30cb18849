# SPDX-License-Identifier: Apache-2.0
"""The trainer's parts, one idea per module. `training.py` has the whole run in order, `loop.py` the steps."""
