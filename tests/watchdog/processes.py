# SPDX-License-Identifier: Apache-2.0
"""Real processes that do one thing each."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fluxgymd.attempts import processes
from fluxgymd.core.journal.records import Process
from tests.harness.waiting import DEADLINE_SECONDS

SPINS = "while True: pass"
SLEEPS = "import time; time.sleep(1000)"
TALKS = """
import os, socket
reader, writer = os.pipe()
null, mine, theirs = os.open(os.devnull, os.O_WRONLY), *socket.socketpair()
folder = os.open("/usr/lib", os.O_RDONLY)
while True:
    os.write(writer, bytes(4096)), os.read(reader, 4096)
    mine.send(bytes(4096)), theirs.recv(4096)
    os.write(null, bytes(1 << 20)), os.listdir(folder)
    for name in ("kallsyms", "self/maps", "mounts"): open(f"/proc/{name}").read()
"""
"""Makes system calls endlessly on pipes, sockets, a device, a folder and /proc, of which it reads more than 1 MiB."""


def reads(path: Path) -> str:
    """Returns a program that reads a file with read(2), repeatedly."""
    return f"""
import os
file = os.open({os.fspath(path)!r}, os.O_RDONLY)
while True:
    if not os.read(file, 65536): os.lseek(file, 0, os.SEEK_SET)
"""


def writes(path: Path) -> str:
    """Returns a program that writes a file, and truncates it before it gets large."""
    return f"""
import os
file = os.open({os.fspath(path)!r}, os.O_WRONLY | os.O_CREAT)
while True:
    if os.write(file, bytes(65536)) and os.lseek(file, 0, os.SEEK_CUR) >= 8 << 20:
        os.ftruncate(file, 0), os.lseek(file, 0, os.SEEK_SET)
"""


def maps(path: Path) -> str:
    """Returns a program that reads a file through a mapping repeatedly, and drops its pages each time."""
    return f"""
import mmap, os
file = os.open({os.fspath(path)!r}, os.O_RDONLY)
mapped = mmap.mmap(file, 0, prot=mmap.PROT_READ)
while True:
    mapped.madvise(mmap.MADV_DONTNEED)
    os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)
    for at in range(0, len(mapped), 4096): mapped[at]
"""


WAITS_FOR_ITS_CHILD = """
import ctypes
libc = ctypes.CDLL(None)
if libc.vfork() == 0:
    libc.sleep(1000)
"""
"""The parent waits in state D while its child of vfork(2) sleeps."""
THREADS = """
import threading, time
for _ in range(3): threading.Thread(target=time.sleep, args=(1000,)).start()
"""


@contextmanager
def running(program: str) -> Iterator[Process]:
    """Runs a Python program. Yields its process, with its start time, once the program has begun."""
    begins = f"print('begins', flush=True)\n{program}"
    child = subprocess.Popen([sys.executable, "-c", begins], start_new_session=True, stdout=subprocess.PIPE)
    assert child.stdout is not None
    try:
        assert child.stdout.readline() == b"begins\n"
        now = processes.stat(child.pid)
        assert now is not None
        yield now.process
    finally:
        os.killpg(child.pid, signal.SIGKILL)
        child.communicate(timeout=DEADLINE_SECONDS)
