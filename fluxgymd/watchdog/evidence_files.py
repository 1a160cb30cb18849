# SPDX-License-Identifier: Apache-2.0
"""The files with the evidence of a hang, under attempts/NNN/evidence/:

    verdict.json         the conclusion and its reason; written last: if it exists, so do the others except stacks.txt
    observations.jsonl   the last looks, oldest first (core/watchdog/observation.py)
    nvml.json            the GPUs, as NVML reported them last; missing if it never did
    processes.txt        each process and each thread: its state, and the kernel function that it waits in
    log-tail.txt         the end of training.log
    stacks.txt           where each thread of the trainer was, as the trainer wrote it

They are for people; the daemon does not read them again. The functions here block.
"""

import os
import re
from collections.abc import Sequence
from pathlib import Path

import msgspec

from fluxgym.files import open_file, open_for_reading
from fluxgymd.core.job import Hang
from fluxgymd.core.watchdog.observation import Observation
from fluxgymd.store.atomic import write_all, write_file
from fluxgymd.trainers.progress import metrics

EVIDENCE = "evidence"
"""The name of the folder, in that of the attempt."""
VERDICT = "verdict.json"
STACKS = "stacks.txt"
MOST_BYTES = 4 * 1024 * 1024
"""The length of the end of a log that is searched for stacks."""

_DUMP = re.compile(rb"Fatal Python error: |(?:Current thread|Thread) 0x[0-9a-f]+ ")
"""The beginning of what faulthandler writes (docs.python.org/3/library/faulthandler)."""


def saved(folder: Path) -> bool:
    """Whether `write` has completed."""
    return (folder / VERDICT).exists()


def write(
    folder: Path, hang: Hang, observations: Sequence[Observation], processes: str, log: Path, begin: int
) -> None:
    """Writes all files except stacks.txt. `begin`: the offset at which the attempt's part of the log begins. Raises
    OSError if the disk refuses."""
    folder.mkdir(mode=0o700, exist_ok=True)
    _write(folder / "processes.txt", processes.encode())
    _write(folder / "observations.jsonl", b"".join(msgspec.json.encode(look) + b"\n" for look in observations))
    told = next((look for look in reversed(observations) if look.gpus), None)
    if told is not None:
        _write(folder / "nvml.json", _pretty({"at": told.at, "gpus": told.gpus}))
    _write(folder / "log-tail.txt", metrics.tail(log, begin).encode())
    write_file(folder / VERDICT, _pretty(hang))


def stacks_in(log: Path, begin: int) -> bytes:
    """The stacks that a dying or hung Python wrote to the log after this offset; empty if there are none. Searches at
    most the last MOST_BYTES, since Python writes its stacks at its end."""
    with open_for_reading(log) as file:
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
    descriptor = open_file(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    try:
        write_all(descriptor, data)
    finally:
        os.close(descriptor)


def _pretty(value: object) -> bytes:
    return msgspec.json.format(msgspec.json.encode(value), indent=2) + b"\n"
