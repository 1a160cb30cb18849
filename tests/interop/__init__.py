# SPDX-License-Identifier: Apache-2.0
"""Our trainer, our daemon and kohya-ss/sd-scripts itself on the same files. `./dev interop` runs it; a checkout is
named by SD_SCRIPTS, and is no part of the project."""
