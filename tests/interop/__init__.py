# SPDX-License-Identifier: Apache-2.0
"""Tests of our trainer, our daemon and kohya-ss/sd-scripts itself on the same files. `./dev interop` runs them.
SD_SCRIPTS names a checkout of sd-scripts, which is not part of the project."""
