# SPDX-License-Identifier: Apache-2.0
"""The trainer's parts: a room for each subject, one idea per module. Loose here is what all rooms use.

`train/training.py` has the whole run in order, `train/loop.py` the steps. The rooms import each other in one
direction.
"""
