# SPDX-License-Identifier: Apache-2.0
"""How many processes train together, and which one this is, as `accelerate launch` (torchrun) tells by environment.

The first process alone speaks: it writes stdout, the bar, warnings, metrics and every file but caches. What ends
another process is told all the same. No torch is imported here, since this is asked first of all.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from library.errors import TrainerError


@dataclass(frozen=True, kw_only=True)
class World:
    """`rank` counts from 0; without a launcher there is one process."""

    count: int = 1
    rank: int = 0

    @property
    def first(self) -> bool:
        return self.rank == 0

    @contextlib.contextmanager
    def quiet_unless_first(self) -> Iterator[None]:
        """Within it the other processes print nothing; an exception that leaves it is printed as always."""
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
    """Raises TrainerError where the processes are spread over several machines."""
    count = int(environ.get("WORLD_SIZE", "1"))
    here = int(environ.get("LOCAL_WORLD_SIZE", str(count)))
    if here != count:
        raise TrainerError(
            f"{count} processes were started, {here} of them on this machine: several GPUs of one machine train "
            "together, several machines do not; use --num_machines 1"
        )
    return World(count=count, rank=int(environ.get("RANK", "0")))
