# SPDX-License-Identifier: Apache-2.0
"""A client that behaves, in a process of its own: `python -m tests.fuzz.honest SOCKET CALLS [--job JOB] [--patient]`.

It asks about the daemon, and about a job if one is named, with a short pause in between, until its input ends, and
makes at least so many calls. Then it prints the duration of each call in seconds as a JSON list. A patient client
ignores calls that failed because the daemon died, or that had to wait until a daemon was started.
"""

from __future__ import annotations

import argparse
import json
import select
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fluxgym.errors import DaemonUnreachable
from tests.daemon.running import ROOT, Asked
from tests.harness.waiting import DEADLINE_SECONDS

PAUSE_SECONDS = 0.005


@contextmanager
def honest_client(daemon: Asked, job: str | None, *, calls: int, patient: bool = False) -> Iterator[list[float]]:
    """Runs a client during the `with` block, and longer if it has not made so many calls. The durations of its calls
    are in the list afterwards. A failing call fails the test, unless the client is patient."""
    command = [sys.executable, "-m", "tests.fuzz.honest", str(daemon.socket), str(calls)]
    command += ["--job", job] if job is not None else []
    command += ["--patient"] if patient else []
    seconds: list[float] = []
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield seconds
            said, _ = process.communicate(timeout=DEADLINE_SECONDS)
        finally:
            process.kill()
    assert process.returncode == 0, "the honest client got no answer"
    seconds += json.loads(said)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("socket", type=Path)
    parser.add_argument("calls", type=int)
    parser.add_argument("--job")
    parser.add_argument("--patient", action="store_true")
    options = parser.parse_args()
    daemon = Asked(home=Path(), socket=options.socket)
    times: list[float] = []
    while not select.select([sys.stdin], [], [], PAUSE_SECONDS)[0] or len(times) < options.calls:
        try:
            took = [_of_info(daemon), *([] if options.job is None else [_of_job(daemon, options.job)])]
        except DaemonUnreachable:
            if not options.patient:
                raise
            continue
        times += [seconds for seconds in took if seconds is not None]
    print(json.dumps(times))


def _of_info(daemon: Asked) -> float | None:
    """The duration in seconds; None if the daemon was started only after the call."""
    asked_at, began = time.time(), time.monotonic()
    started_at = daemon.info().started_at
    return time.monotonic() - began if started_at <= asked_at else None


def _of_job(daemon: Asked, name: str) -> float:
    began = time.monotonic()
    daemon.job(name)
    return time.monotonic() - began


if __name__ == "__main__":
    main()
