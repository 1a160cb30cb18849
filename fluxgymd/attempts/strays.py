# SPDX-License-Identifier: Apache-2.0
"""Processes of attempts that no job knows any more: somebody deleted or renamed a job's folder while it ran.

Their GPUs are given to nobody until they are gone (promise 4). They are never signalled: what would prove that they
are this daemon's lay in that folder (promise 6).
"""

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from fluxgymd.attempts import processes
from fluxgymd.core.records import Process


@dataclass(frozen=True, kw_only=True, slots=True)
class Stray:
    process: Process
    job: str
    """As it was named when it was started."""
    gpus: tuple[str, ...]


def find(outputs: Path, known: Collection[str]) -> list[Stray]:
    """Those that were started for a job in `outputs` under another mark than the `known` ones. Blocks."""
    found = (processes.about(one.process, lambda pid: _stray(pid, outputs, known)) for one in processes.everyone())
    return [stray for stray in found if stray is not None]


def _stray(pid: int, outputs: Path, known: Collection[str]) -> Stray | None:
    """By what spec.attempt_spec gave it to begin with."""
    mark = processes.variable(pid, processes.MARK)
    metrics = processes.variable(pid, "FLUXGYM_METRICS")
    if mark is None or mark in known or metrics is None or not _same(Path(metrics).parent.parent, outputs):
        return None
    stat = processes.stat(pid)
    if stat is None:
        return None
    gpus = processes.variable(pid, "CUDA_VISIBLE_DEVICES") or ""
    return Stray(process=stat.process, job=Path(metrics).parent.name, gpus=tuple(filter(None, gpus.split(","))))


def _same(one: Path, other: Path) -> bool:
    """A home may have several names."""
    try:
        return one.samefile(other)
    except OSError:
        return False
