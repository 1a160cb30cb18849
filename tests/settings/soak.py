# SPDX-License-Identifier: Apache-2.0
"""Plays drawn settings, several at a time. Each worker has its own daemon (`./dev soak settings`)."""

from __future__ import annotations

import contextlib
import queue
import shutil
import sys
import tempfile
import threading
import traceback
from collections.abc import Callable, Iterable
from pathlib import Path

from tests.daemon.running import RunningDaemon
from tests.settings import material, tables
from tests.settings.draw import Draw, draw
from tests.settings.playing import CUT, WHOLE, play

Deal = Callable[[int], Draw]


class Outcome:
    """Collects and prints the results of all workers."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.failed: list[int] = []

    def tell(self, number: int, drawn: Draw, left_out: list[str]) -> None:
        with self._lock:
            for sentence in (f"{number}: {drawn}", *(f"    {each}" for each in left_out)):
                print(sentence, flush=True)

    def fail(self, number: int, drawn: Draw, told: str) -> None:
        with self._lock:
            self.failed.append(number)
            print(f"{number} FAILED: {drawn}\n{told}", file=sys.stderr, flush=True)


def soak(seed: int, numbers: Iterable[int], *, workers: int = 2) -> list[int]:
    """Plays these draws, `workers` of them at a time. Returns the numbers of those that failed."""
    told = tables.ask()
    left: queue.SimpleQueue[int] = queue.SimpleQueue()
    for number in numbers:
        left.put(number)
    outcome = Outcome()
    with contextlib.ExitStack() as stack:
        model = Path(tempfile.mkdtemp(prefix="fg-model-"))
        stack.callback(shutil.rmtree, model)
        material.make(model)

        def deal(number: int) -> Draw:
            return draw(told, seed=seed, number=number)

        threads = [threading.Thread(target=_work, args=(left, model, deal, outcome)) for _ in range(workers)]
        for thread in threads:
            thread.start()
        try:
            for thread in threads:
                thread.join()
        except KeyboardInterrupt:  # each worker ends after its draw
            while not left.empty():
                left.get()
            for thread in threads:
                thread.join()
            raise
    return sorted(outcome.failed)


def _work(left: queue.SimpleQueue[int], model: Path, deal: Deal, outcome: Outcome) -> None:
    """Plays draws until none is left. After a failure it starts a new daemon."""
    while not left.empty():
        folder = Path(tempfile.mkdtemp(prefix="fg-"))
        try:
            with RunningDaemon(folder, arguments=("--supervisor", "process")) as daemon:
                while True:
                    number = left.get_nowait()
                    drawn = deal(number)
                    try:
                        outcome.tell(number, drawn, play(daemon, model, drawn))
                    except Exception:  # noqa: BLE001 - the soak looks for any failure
                        outcome.fail(number, drawn, f"{traceback.format_exc()}\n{daemon.evidence(WHOLE, CUT)}")
                        break
        except queue.Empty:
            pass
        except Exception:  # noqa: BLE001 - a failed daemon must not end the other workers
            print(traceback.format_exc(), file=sys.stderr, flush=True)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
