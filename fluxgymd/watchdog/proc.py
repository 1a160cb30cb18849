# SPDX-License-Identifier: Apache-2.0
"""Describes the processes of a hang for people, from /proc: where each thread is, and what it waits in (proc(5)).

Only processes that are proved to be the attempt's are described, without their secrets: secrets in a command line are
masked, and the environment is left out. Blocks, and may hang if a process does.
"""

import os
import re
from collections.abc import Iterator
from pathlib import Path

from fluxgymd.attempts import processes
from fluxgymd.core.journal.records import Process

MOST_PROCESSES, MOST_THREADS = 64, 256
MASK = "***"

_SECRET_NAME = re.compile(r"(?:^|[-_.])(?:token|secret|password|passwd|credentials?|api[-_]?key|key)$", re.IGNORECASE)
_SECRET_VALUE = re.compile(r"hf_[A-Za-z0-9]{16,}|(?<=://)[^/@\s]+(?=@)|(?i:(?<=bearer )\S+)")
"""A Hugging Face token, the user and password in an address, or the token of an HTTP header."""


def describe(found: tuple[Process, ...]) -> str:
    """One paragraph for each process."""
    parts = [_process(process) for process in found[:MOST_PROCESSES]]
    if len(found) > MOST_PROCESSES:
        parts.append(f"{len(found) - MOST_PROCESSES} more processes are omitted.\n")
    return "\n".join(parts)


def masked(words: list[str]) -> str:
    """A command line with its secrets masked."""
    shown: list[str] = []
    secret = False
    for word in words:
        name, separator, _ = word.partition("=")
        if secret and not word.startswith("--"):
            shown.append(MASK)
        elif separator and _SECRET_NAME.search(name):
            shown.append(f"{name}={MASK}")
        else:
            shown.append(_SECRET_VALUE.sub(MASK, word))
        secret = word.startswith("-") and not separator and bool(_SECRET_NAME.search(word))
    return " ".join(shown)


def _process(process: Process) -> str:
    text = processes.about(process, lambda pid: "".join(_lines(pid)))
    return text if text is not None else f"process {process.pid}\nIt ended while it was being examined.\n"


def _lines(pid: int) -> Iterator[str]:
    words = _read(Path(f"/proc/{pid}/cmdline")).split("\0")
    yield f"process {pid}: {masked(words[:-1])}\n"
    for line in _read(Path(f"/proc/{pid}/status")).splitlines():
        yield f"  {line}\n"
    try:
        threads = sorted(map(int, os.listdir(f"/proc/{pid}/task")))
    except OSError:
        return
    for thread in threads[:MOST_THREADS]:
        yield from _thread(Path(f"/proc/{pid}/task/{thread}"), thread)
    if len(threads) > MOST_THREADS:
        yield f"  {len(threads) - MOST_THREADS} more threads are omitted.\n"


def _thread(folder: Path, number: int) -> Iterator[str]:
    stat = _read(folder / "stat")
    name, state = stat[stat.find("(") + 1 : stat.rfind(")")], stat[stat.rfind(")") + 2 : stat.rfind(")") + 3]
    waits_in = _read(folder / "wchan")
    where = f"waits in {waits_in}" if waits_in not in ("", "0") else "where it waits is unknown"
    yield f"  thread {number} ({name}) state {state}, {where}\n"
    for call in _read(folder / "stack").splitlines():
        yield f"    {call}\n"


def _read(path: Path) -> str:
    """The text of a file; empty if it is gone or may not be read. Only root may read a kernel stack."""
    try:
        return path.read_bytes().decode(errors="replace")
    except OSError:
        return ""
