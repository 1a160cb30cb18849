# SPDX-License-Identifier: Apache-2.0
"""What is saved of a hang, under attempts/NNN/evidence/:

    verdict.json         what was concluded, and why; written last: where it is, the rest is
    observations.jsonl   the last looks, oldest first (core/watchdog/observation.py)
    nvml.json            the GPUs, as NVML told them last
    processes.txt        each process and each thread: its state, and the kernel function that it waits in
    log-tail.txt         the end of training.log
    stacks.txt           where each thread of the trainer was, as it wrote it itself

They are for people, and nothing here reads them again. Blocks on the disk.
"""

import os
import re
from collections.abc import Sequence
from pathlib import Path

import msgspec

from fluxgymd.core.job import Hang
from fluxgymd.core.watchdog.observation import Observation
from fluxgymd.store.atomic import write_file
from fluxgymd.trainers import progress

EVIDENCE = "evidence"
"""The folder, below that of the attempt."""
VERDICT = "verdict.json"
STACKS = "stacks.txt"
MOST_BYTES = 4 * 1024 * 1024
"""Of a log that is searched for stacks."""

_DUMP = re.compile(rb"Fatal Python error: |(?:Current thread|Thread) 0x[0-9a-f]+ ")
"""How faulthandler begins (docs.python.org/3/library/faulthandler)."""


def saved(folder: Path) -> bool:
    """Whether all that is written by `write` is there."""
    return (folder / VERDICT).exists()


def write(
    folder: Path, hang: Hang, observations: Sequence[Observation], processes: str, log: Path, begin: int
) -> None:
    """Everything but the stacks. `begin`: where the attempt's part of the log begins. OSError if the disk refuses."""
    folder.mkdir(mode=0o700, exist_ok=True)
    _write(folder / "processes.txt", processes.encode())
    _write(folder / "observations.jsonl", b"".join(msgspec.json.encode(look) + b"\n" for look in observations))
    told = next((look for look in reversed(observations) if look.gpus), None)
    if told is not None:
        _write(folder / "nvml.json", _pretty({"at": told.at, "gpus": told.gpus}))
    _write(folder / "log-tail.txt", progress.tail(log, begin).encode())
    write_file(folder / VERDICT, _pretty(hang))


def stacks_in(log: Path, begin: int) -> bytes:
    """What a dying or hung Python wrote of its threads behind this offset of the log; empty if there is nothing. Of
    a long part its end is searched: that is where it dies."""
    with log.open("rb") as file:
        file.seek(max(begin, file.seek(0, os.SEEK_END) - MOST_BYTES))
        data = file.read(MOST_BYTES)
    found = _DUMP.search(data)
    return data[found.start() :] if found else b""


def write_stacks(folder: Path, stacks: bytes) -> None:
    folder.mkdir(mode=0o700, exist_ok=True)
    _write(folder / STACKS, stacks)


def has_stacks(folder: Path) -> bool:
    return (folder / STACKS).exists()


def _write(path: Path, data: bytes) -> None:
    path.write_bytes(data)
    path.chmod(0o600)


def _pretty(value: object) -> bytes:
    return msgspec.json.format(msgspec.json.encode(value), indent=2) + b"\n"
