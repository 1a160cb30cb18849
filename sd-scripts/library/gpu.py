# SPDX-License-Identifier: Apache-2.0
"""Finds out, without torch, whether a training would use a GPU. --check_job itself runs with all GPUs hidden."""

from __future__ import annotations

from pathlib import Path

from library.environment import wants_cpu

# Files of NVIDIA's driver, and of the driver in WSL.
DRIVERS = ("/proc/driver/nvidia/version", "/dev/dxg")


def is_there() -> bool:
    """Whether this machine has a GPU that a training may use."""
    return not wants_cpu() and any(Path(driver).exists() for driver in DRIVERS)
