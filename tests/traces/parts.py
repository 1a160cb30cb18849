# SPDX-License-Identifier: Apache-2.0
"""The parts that runs consist of.

Sizes: Flux.1-dev's transformer has 23.8 GB, T5-XXL 9.8 GB, a state of a rank-16 LoRA 0.5 GB. Step times as users
report them: 1.2 s on a 4090 at 512 px, 3 to 4 s at 1024 px, 6 to 10 s with swapped blocks. The network volumes of
rented machines read 100 MB/s or less.
"""

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from fluxgym.protocol.messages import Phase
from tests.traces.simulator import Part

MB = 1_000_000.0
GB = 1000 * MB
MINUTE = 60.0
HOUR = 3600.0
BAR = 150.0
"""Bytes per second that a progress bar adds to the log."""


def start(seconds: float = 25) -> Part:
    """Python imports torch."""
    return Part(seconds=seconds, phase=Phase.STARTING, cpu=0.9, io=20 * MB, log=20)


def read(size: float = 33.6 * GB, *, rate: float = 1 * GB) -> Part:
    """The models are read from a disk. The GPU is idle and the log silent."""
    return Part(
        seconds=size / rate, phase=Phase.LOADING, io=rate, cpu=min(1.0, 0.08 + rate / GB), blocked=1, watts=35
    )


def compute(seconds: float, *, phase: Phase = Phase.LOADING, cpu: float = 1.0) -> Part:
    """Only the processor works: a cast to fp8, a hash, a compilation. Nothing is logged."""
    return Part(seconds=seconds, phase=phase, cpu=cpu, watts=35)


def cache(pictures: int, *, each: float = 0.7) -> Part:
    """Pictures and captions are encoded, into one file per picture."""
    seconds = pictures * each
    return Part(
        seconds=seconds,
        phase=Phase.CACHING,
        item_every=each,
        files_every=each,
        cpu=1.1,
        io=8 * MB,
        gpu=35,
        watts=180,
        log=BAR,
    )


def train(minutes: float, *, each: float = 1.2) -> Part:
    """Training steps. The Python loop launches kernels and uses most of a core."""
    return Part(
        seconds=minutes * MINUTE,
        phase=Phase.TRAINING,
        step_every=each,
        cpu=1.0,
        io=0.3 * MB,
        gpu=97,
        watts=410,
        log=BAR,
    )


def sample(count: int, *, each: float = 45) -> Part:
    """Sample pictures are generated."""
    return Part(
        seconds=count * each, phase=Phase.SAMPLING, item_every=each, cpu=1.0, gpu=99, watts=430, writes=2 * MB / each
    )


def save(size: float = 0.5 * GB, *, rate: float = 400 * MB) -> Part:
    """A LoRA and its state are written."""
    return Part(seconds=size / rate, phase=Phase.SAVING, cpu=0.3, io=rate, writes=rate, blocked=1, watts=70)


def finish(seconds: float = 20) -> Part:
    return Part(seconds=seconds, phase=Phase.FINISHING, cpu=1.0, io=5 * MB, watts=60, log=5)


def up_to_training() -> list[Part]:
    """A quick start on a good machine, up to the first step."""
    return [start(), read(), compute(40), cache(40)]


def hung(phase: Phase | None, *, hours: float = 2.5, **signals: Any) -> Part:
    """A hang. Only `signals` move; everything else stands still."""
    part = Part(seconds=hours * HOUR, phase=phase, hang=True, cpu=0.005, watts=60, gpu=0)
    return replace(part, **signals)


def like(part: Part, **signals: Any) -> Part:
    """Returns the same part with other signals."""
    return replace(part, **signals)


def on_gpu(pids: tuple[int, ...] | None, parts: Iterable[Part]) -> list[Part]:
    """Returns the same parts, with these pids in NVML's list for the GPU."""
    return [replace(part, on_gpu=pids) for part in parts]
