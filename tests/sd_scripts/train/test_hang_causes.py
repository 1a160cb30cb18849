# SPDX-License-Identifier: Apache-2.0
"""The claims of docs/hangs.md about why trainings hang, each tested with the real library or the real kernel.

The older program's hardened fork listed eight causes and four fixes without reproducing any (issue 4: "checked, with
the false ones named as false").
"""

from __future__ import annotations

import ast
import io
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch

from tests.harness.waiting import DEADLINE_SECONDS, until

DOCUMENT = Path(__file__).resolve().parents[3] / "docs" / "hangs.md"


def program(text: str, *arguments: str | Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-u", "-c", text, *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)


def waits_in_the_kernel(process: subprocess.Popen[bytes]) -> bool:
    """Whether it sleeps and used no processor time between two looks."""
    about = psutil.Process(process.pid)
    before = about.cpu_times()
    return about.status() == psutil.STATUS_SLEEPING and about.cpu_times() == before


POOL = """
import sys
from concurrent.futures import ThreadPoolExecutor
future = ThreadPoolExecutor(1).submit(open, sys.argv[1])  # a FIFO that nobody writes to
try:
    future.result(timeout=0.1)
except TimeoutError:
    print("timed out")
"""


def test_a_timeout_on_a_pool_s_result_does_not_end_the_process(tmp_path: Path) -> None:
    """The fork's fix for "block-swap deadlock": the exception is raised, but the interpreter waits for the thread."""
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    with program(POOL, fifo) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"timed out\n"
        until(lambda: waits_in_the_kernel(process), what="the interpreter to wait for the pool's thread")
        assert process.poll() is None
        with fifo.open("w"):  # what the thread waited for
            pass
        assert process.wait(timeout=DEADLINE_SECONDS) == 0


def test_a_timeout_around_np_load_does_not_interrupt_the_reading(tmp_path: Path) -> None:
    """The fork's fix for "file I/O": np.load only opens an .npz. The arrays are read later, outside the timeout."""
    path = tmp_path / "cache.npz"
    np.savez(path, latents=np.ones((16, 8, 8), dtype=np.float32))
    with path.open("rb") as file:
        archive = np.load(file)
        opened_at = file.tell()
        reads: list[int] = []
        archive.zip.fp = _Watched(file, reads)
        assert reads == []
        assert archive["latents"].shape == (16, 8, 8)
    assert sum(reads) >= 16 * 8 * 8 * 4, f"the array was read after np.load had returned (at {opened_at})"


class _Watched(io.BufferedReader):
    """A file that counts the bytes read from it."""

    def __init__(self, file: io.BufferedReader, reads: list[int]) -> None:
        super().__init__(file.raw)
        self._reads = reads

    def read(self, size: int | None = -1) -> bytes:
        data = super().read(size)
        self._reads.append(len(data))
        return data


def test_the_advised_zero_workers_fail_with_persistent_workers() -> None:
    """The fork's workaround for "DataLoader worker deadlock", with a flag that the program always passes."""
    with pytest.raises(ValueError, match="persistent_workers option needs num_workers > 0"):
        torch.utils.data.DataLoader([1, 2, 3], num_workers=0, persistent_workers=True)  # type: ignore[arg-type]


WORKER = """
import os, signal, sys, torch
class Pictures(torch.utils.data.Dataset):
    def __len__(self): return 4
    def __getitem__(self, index):
        if index == 2: open(sys.argv[1])  # a share that does not answer
        return index
print(*(int(batch) for batch in torch.utils.data.DataLoader(Pictures(), num_workers=1)))
"""


def test_a_worker_that_waits_forever_blocks_the_training_forever(tmp_path: Path) -> None:
    """True: a DataLoader has no time limit unless one is given, and a worker that only waits counts as alive."""
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    with program(WORKER, fifo) as process:
        reader = until(lambda: _blocked_opener(process.pid), what="the worker to block")
        assert process.poll() is None
        reader.send_signal(signal.SIGKILL)
        assert process.wait(timeout=DEADLINE_SECONDS) != 0, "a worker that dies is noticed"


def _blocked_opener(pid: int) -> psutil.Process | None:
    """The child that waits in open(2) for the other end of a FIFO (the kernel's wait_for_partner)."""
    for child in psutil.Process(pid).children():
        try:
            if Path(f"/proc/{child.pid}/wchan").read_text() == "wait_for_partner":
                return child
        except OSError:
            continue
    return None


TALKER = "for _ in range(1_000_000): print('steps: 12%' * 10)"


def test_a_reader_that_goes_away_stops_the_trainer() -> None:
    """True, and not in the fork's list: a full pipe blocks the writer, and a closed one kills it. So we give the
    trainer a file."""
    with program(TALKER) as process:
        assert process.stdout is not None
        until(lambda: waits_in_the_kernel(process), what="the trainer to wait for the reader of its output")
        process.stdout.close()
        assert process.wait(timeout=DEADLINE_SECONDS) != 0


def test_a_reader_of_lines_sees_nothing_of_a_progress_bar() -> None:
    """True, and not in the fork's list: a bar's updates end in a carriage return, so one line lasts for hours."""
    bar = io.BytesIO(b"".join(b"\rsteps: %3d%%" % step for step in range(100)))
    assert len(bar.readlines()) == 1


ALARM = """
import ctypes, os, signal, sys
signal.signal(signal.SIGALRM, lambda *_: print("alarm"))
child = ctypes.CDLL(None).vfork  # the caller waits in state D until the child has left
signal.alarm(1)
if child() == 0:
    import time
    open(sys.argv[1]); os._exit(0)
"""


def test_an_alarm_does_not_interrupt_what_waits_in_the_kernel(tmp_path: Path) -> None:
    """The fork's SIGALRM around reads of a share: a process in state D handles no signal, an alarm included."""
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    with program(ALARM, fifo) as process:
        until(
            lambda: psutil.Process(process.pid).status() == psutil.STATUS_DISK_SLEEP,
            what="the parent of a vfork to be in state D",
        )
        until(lambda: _pending(process.pid, signal.SIGALRM), what="the alarm to be pending")
        assert psutil.Process(process.pid).status() == psutil.STATUS_DISK_SLEEP
        fifo.write_text("")
        process.wait(timeout=DEADLINE_SECONDS)


def _pending(pid: int, number: int) -> bool:
    status = Path(f"/proc/{pid}/status").read_text()
    masks = [int(line.split()[1], 16) for line in status.splitlines() if line.startswith(("SigPnd", "ShdPnd"))]
    return any(mask >> (number - 1) & 1 for mask in masks)


def test_every_experiment_is_in_the_document() -> None:
    """The document must name every experiment."""
    named = {
        node.name
        for node in ast.parse(Path(__file__).read_text()).body
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
    } - {"test_every_experiment_is_in_the_document"}
    text = DOCUMENT.read_text()
    assert {name for name in named if name not in text} == set()
