# SPDX-License-Identifier: Apache-2.0
"""Builds and controls the small NVML of nvml.c, which programs load in place of the driver's."""

import subprocess
from collections.abc import Mapping
from pathlib import Path

from tests.harness.waiting import DEADLINE_SECONDS

SOURCE = Path(__file__).with_name("nvml.c")

NOT_SUPPORTED = 3
DRIVER_NOT_LOADED = 9
FUNCTION_NOT_FOUND = 13
GPU_IS_LOST = 15
LIB_RM_VERSION_MISMATCH = 18


def build(folder: Path) -> Path:
    """Builds libnvidia-ml.so.1 in a folder and returns the folder."""
    flags = ["-std=c11", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC"]
    subprocess.run(
        ["gcc", *flags, "-o", str(folder / "libnvidia-ml.so.1"), str(SOURCE)], check=True, timeout=DEADLINE_SECONDS
    )
    return folder


class Nvml:
    """The NVML of a machine, for programs that are started with its `environment`."""

    def __init__(self, library_folder: Path, state: Path) -> None:
        self._state = state
        self.environment: Mapping[str, str] = {
            "LD_LIBRARY_PATH": str(library_folder),
            "FLUXGYM_TEST_NVML": str(state),
        }
        self.tell()

    def tell(self, *lines: str) -> None:
        """Sets the answers from now on. nvml.c describes the lines."""
        fresh = self._state.with_suffix(".new")
        fresh.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
        fresh.rename(self._state)


def gpu(
    uuid: str,
    name: str = "NVIDIA H200",
    *,
    total: int = 150_754_820_096,
    used: int = 0,
    utilization: int = 0,
    temperature: int = 30,
    milliwatts: int = 75_500,
) -> str:
    """Returns the line of one GPU. -1: the GPU does not report this value."""
    return f"gpu {uuid} {total} {used} {utilization} {temperature} {milliwatts} {name}"
