# SPDX-License-Identifier: Apache-2.0
"""Builds and steers the small NVML of nvml.c, which programs find in the place of the driver's."""

import subprocess
from collections.abc import Mapping
from pathlib import Path

SOURCE = Path(__file__).with_name("nvml.c")

NOT_SUPPORTED = 3
DRIVER_NOT_LOADED = 9
FUNCTION_NOT_FOUND = 13
GPU_IS_LOST = 15
LIB_RM_VERSION_MISMATCH = 18


def build(folder: Path) -> Path:
    """The folder, with a libnvidia-ml.so.1 in it."""
    flags = ["-std=c11", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC"]
    subprocess.run(["gcc", *flags, "-o", str(folder / "libnvidia-ml.so.1"), str(SOURCE)], check=True)
    return folder


class Nvml:
    """A machine's NVML as programs see it that are started with its environment."""

    def __init__(self, library_folder: Path, state: Path) -> None:
        self._state = state
        self.environment: Mapping[str, str] = {
            "LD_LIBRARY_PATH": str(library_folder),
            "FLUXGYM_TEST_NVML": str(state),
        }
        self.tell()

    def tell(self, *lines: str) -> None:
        """What it answers from now on; the lines are described in nvml.c."""
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
    """The line of one GPU. -1: it does not tell this value."""
    return f"gpu {uuid} {total} {used} {utilization} {temperature} {milliwatts} {name}"
