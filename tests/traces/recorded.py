# SPDX-License-Identifier: Apache-2.0
"""Traces recorded from real runs: recorded/NAME.jsonl, a header line and then one Observation per line.

Runs on the test bench are recorded at short intervals, and the limits are divided by `scale` of the header: 30 s over
the interval of the recording.
"""

import itertools
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import msgspec

from fluxgymd.core.watchdog.limits import Limits
from fluxgymd.core.watchdog.observation import Observation
from tests.core.watchdog.usual import USUAL

S = TypeVar("S")

FOLDER = Path(__file__).parent / "recorded"


class Header(msgspec.Struct, frozen=True, kw_only=True):
    """The first line of a recorded trace."""

    name: str
    reason: str
    """Why the trace must be judged so, in one sentence."""
    expected: str
    """healthy or stuck."""
    scale: float = 1.0
    """30 s divided by the time between two looks."""


@dataclass(frozen=True, kw_only=True)
class Recorded:
    header: Header
    observations: tuple[Observation, ...]

    @property
    def limits(self) -> Limits:
        return _scaled(USUAL, 1 / self.header.scale)

    @property
    def last_work(self) -> float:
        """The time (CLOCK_MONOTONIC) of the last look at which the phase or the step had changed, before the first
        step back."""
        worked, highest = self.observations[0].clock, -1
        for before, now in itertools.pairwise(self.observations):
            if now.step is not None and now.step < highest:
                break
            highest = highest if now.step is None else now.step
            if (before.phase, before.step) != (now.phase, now.step):
                worked = now.clock
        return worked


def _scaled(limits: Limits, factor: float) -> Limits:
    """Returns the limits with all times multiplied by `factor`."""
    return replace(
        limits,
        interval=limits.interval * factor,
        gpu_idle=limits.gpu_idle * factor,
        step_floor=limits.step_floor * factor,
        stopped=limits.stopped * factor,
        gpu_fault=limits.gpu_fault * factor,
        without_phase=limits.without_phase * factor,
        phases={
            phase: replace(of, still=of.still * factor, progress=of.progress * factor, total=of.total * factor)
            for phase, of in limits.phases.items()
        },
    )


def read(path: Path) -> Recorded:
    """Reads a recorded trace. Raises ValueError with file and line if the file is not one."""
    lines = path.read_bytes().splitlines()
    header = _decode(path, 1, lines[0] if lines else b"", Header)
    observations = [_decode(path, number, line, Observation) for number, line in enumerate(lines[1:], start=2)]
    if header.expected not in ("healthy", "stuck"):
        raise ValueError(f"{path.name}:1 expects {header.expected!r}, but must expect healthy or stuck.")
    if not observations:
        raise ValueError(f"{path.name} holds no observation.")
    return Recorded(header=header, observations=tuple(observations))


def _decode(path: Path, number: int, line: bytes, kind: type[S]) -> S:
    try:
        return msgspec.json.decode(line, type=kind)
    except msgspec.MsgspecError as error:
        raise ValueError(f"{path.name}:{number} is no part of a recorded trace: {error}") from None


def recorded() -> list[Recorded]:
    return [read(path) for path in sorted(FOLDER.glob("*.jsonl"))]
