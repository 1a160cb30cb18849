# SPDX-License-Identifier: Apache-2.0
"""How many processes train together, and which one this is, from the environment that `accelerate launch` (torchrun)
sets.

Only the first process writes stdout, the bar, warnings, metrics and files other than caches. The other processes
print only the error that ends them. Imports no torch, since this is needed before anything else.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from library.environment import number
from library.errors import TrainerError


@dataclass(frozen=True, kw_only=True)
class World:
    """The number of processes, and this one's `rank`, from 0. Without a launcher there is one process."""

    count: int = 1
    rank: int = 0

    @property
    def first(self) -> bool:
        return self.rank == 0

    @contextlib.contextmanager
    def quiet_unless_first(self) -> Iterator[None]:
        """Within the context, processes other than the first print nothing. An exception that leaves it is not
        affected."""
        if self.first:
            yield
            return
        with (
            open(os.devnull, "w", encoding="utf-8") as nowhere,
            contextlib.redirect_stdout(nowhere),
            contextlib.redirect_stderr(nowhere),
        ):
            yield


def of_environment(environ: Mapping[str, str]) -> World:
    """The world that the launcher's variables describe. Raises TrainerError if the processes are spread over several
    machines, or if a variable is not a number."""
    count = number(environ, "WORLD_SIZE", 1)
    here = number(environ, "LOCAL_WORLD_SIZE", count)
    if here != count:
        raise TrainerError(
            f"{count} processes were started, but only {here} of them on this machine; training on several "
            "machines is not supported, so use --num_machines 1"
        )
    return World(count=count, rank=number(environ, "RANK", 0))
