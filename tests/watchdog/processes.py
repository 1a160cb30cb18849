# SPDX-License-Identifier: Apache-2.0
"""Real processes that do one thing each."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from fluxgymd.attempts import processes
from fluxgymd.core.records import Process

SPINS = "while True: pass"
SLEEPS = "import time; time.sleep(1000)"
WRITES = """
import os
file = os.open(os.devnull, os.O_WRONLY)
while True: os.write(file, bytes(65536))
"""
WAITS_FOR_ITS_CHILD = """
import ctypes
libc = ctypes.CDLL(None)
if libc.vfork() == 0:
    libc.sleep(1000)
"""
"""Its parent waits in state D for the child of vfork(2) to begin a program of its own, or to end."""
THREADS = """
import threading, time
for _ in range(3): threading.Thread(target=time.sleep, args=(1000,)).start()
"""


@contextmanager
def running(program: str) -> Iterator[Process]:
    """A Python program, proved, once it has begun."""
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
        child.communicate()
