# SPDX-License-Identifier: Apache-2.0
"""The command lines of the daemon's helper programs, which are modules of the daemon that run in other processes."""

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass

from fluxgymd.background import tied as launcher

DIRECTORY = "/"
"""Their working directory: an empty entry of PYTHONPATH means the working directory, and here only root can put a
module."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ResourceLimits:
    """The limits of a program (setrlimit(2)); None: no limit."""

    data_bytes: int | None = None
    """Private memory, including writable private mappings of files but not read-only ones (RLIMIT_DATA)."""
    cpu_seconds: int | None = None
    nice: int = 0
    """How far its priority is lowered (nice(1))."""


def command(module: str, *words: str) -> list[str]:
    """The command line for a module, to be started in DIRECTORY. Without -P, `python -m` would import modules from
    the working directory."""
    return [sys.executable, "-P", "-X", "utf8", "-m", module, *words]


def tied(words: Sequence[str], limits: ResourceLimits = ResourceLimits()) -> list[str]:
    """The command line for the same program with limits, which the kernel kills when this daemon ends in any way. The
    thread that starts the program must outlive it, because the kernel takes that thread's end for the daemon's."""
    given = {"data": limits.data_bytes, "cpu": limits.cpu_seconds, "nice": limits.nice or None}
    flags = [f"--{name}={value}" for name, value in given.items() if value is not None]
    return [sys.executable, "-I", "-S", launcher.__file__, str(os.getpid()), *flags, *words]
