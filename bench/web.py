# SPDX-License-Identifier: Apache-2.0
"""The web server and its page beside a Gradio page about the same job: first paint, memory, a busy log, a network
that is gone, many points, and 10,000 jobs on record.

The daemon, both servers and Debian's Chromium are real. Both pages read the same home in the same run, in turns where
times are compared, so that other load on the machine affects both alike. The goals are issue 15's. Results go to
bench/results/.
"""

import argparse
import importlib.metadata
import json
import random
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from playwright.sync_api import Browser, sync_playwright  # noqa: E402

from bench.control_plane import fill, machine  # noqa: E402
from bench.web_pair import servers, visits  # noqa: E402
from bench.web_pair.servers import GRADIO, Server  # noqa: E402
from fluxgym.protocol.messages import Context, Kind  # noqa: E402
from tests.daemon.running import RunningDaemon  # noqa: E402
from tests.harness.waiting import join  # noqa: E402
from tests.web.serving import free_port  # noqa: E402

FEW = 10
RATIO = 3.0
IDLE_MB = 30.0
TICKS_A_SECOND = 20
POINTS = 500
MANY_POINTS = 200_000
BUSY = "busy-log"


@contextmanager
def pair(folder: Path, python: Path, through: int, jobs: int, points: int) -> Iterator[tuple[Server, Server, Path]]:
    """Both servers before a home with finished jobs, of which the newest has measurements, and a job with a log."""
    folder.mkdir()
    name = fill(folder / "home", jobs)[-1]
    metrics = folder / "home/outputs" / name / "metrics.jsonl"
    metrics.write_text("".join(measurement(step, points) for step in range(1, points + 1)))
    with RunningDaemon(folder, arguments=("--supervisor", "process")) as daemon:
        daemon.submit(Context(name=BUSY, kind=Kind.PROGRAM, program=["/bin/true"], held=True))
        log = daemon.folder(BUSY) / "training.log"
        log.touch()
        with (
            servers.ours(folder, daemon.socket, through, name) as our,
            servers.gradio(python, folder, name, metrics, log) as peer,
        ):
            yield our, peer, log


def measurement(step: int, total: int) -> str:
    chance = random.Random(step)
    row = {
        "time": 1.76e9 + step,
        "phase": "training",
        "step": step,
        "totalSteps": total,
        "epoch": 1 + step * 16 // total,
        "loss": round(0.1 + 0.4 / step**0.3 + 0.05 * chance.random(), 5),
        "averageLoss": round(0.12 + 0.4 / step**0.3, 5),
        "learningRate": 1e-4,
        "secondsPerStep": 1.0,
    }
    return json.dumps(row) + "\n"


@contextmanager
def writing(log: Path, lines_a_second: int) -> Iterator[None]:
    """Appends numbered lines with their time to a log."""
    ended = threading.Event()

    def write() -> None:
        began, number = time.monotonic(), 0
        with log.open("ab", buffering=0) as file:
            for tick in range(1, sys.maxsize):
                due = lines_a_second * tick // TICKS_A_SECOND
                bar = f"{time.time():.3f} steps:  42%|####2     | 1075/2560 [12:31<17:18,  1.43it/s"
                file.write("".join(f"{n:08d} {bar}\n" for n in range(number, due)).encode())
                number = due
                if ended.wait(max(0.0, began + tick / TICKS_A_SECOND - time.monotonic())):
                    return

    log.write_bytes(b"")
    writer = threading.Thread(target=write)
    writer.start()
    try:
        yield
    finally:
        ended.set()
        join(writer)


def medians(browser: Browser, pair: tuple[Server, Server], runs: int) -> dict[str, dict[str, float]]:
    """First visits in turns; the first turn is not counted."""
    visited = [[visits.load(browser, server) for server in pair] for _ in range(runs + 1)][1:]
    return {
        server.name: {
            key: round(statistics.median(turn[number][key] for turn in visited), 1) for key in visited[0][number]
        }
        for number, server in enumerate(pair)
    }


def measure(folder: Path, browser: Browser, arguments: argparse.Namespace) -> dict[str, Any]:
    python = arguments.gradio_python or servers.environment(folder / "gradio")
    through = free_port()
    found: dict[str, Any] = {
        "machine": machine(),
        "arguments": {name: value for name, value in vars(arguments).items() if name != "gradio_python"},
        "chromium": browser.version,
        "versions": {name: importlib.metadata.version(name) for name in ("starlette", "uvicorn", "playwright")}
        | {"gradio": GRADIO.partition("==")[2]},
    }
    with pair(folder / "few", python, through, FEW, POINTS) as (our, peer, log):
        both = (our, peer)
        note("memory before any visit")
        found["idle_memory_mb"] = {one.name: one.memory() for one in both}
        note("first visits")
        found["first_visit"] = medians(browser, both, arguments.runs)
        note("a busy log")
        with writing(log, arguments.lines):
            found["busy_log"] = {one.name: visits.lines(browser, one, BUSY, arguments.seconds) for one in both}
        note("a network that is gone")
        with writing(log, arguments.lines // 50):
            found["offline"] = {
                one.name: visits.offline(browser, one, BUSY, through, arguments.offline) for one in both
            }
        log.write_bytes(b"")
        note(f"{arguments.pages} pages")
        found["open_pages"] = {one.name: visits.with_pages(browser, one, arguments.pages, 10) for one in both}
    with pair(folder / "many", python, through, arguments.jobs, MANY_POINTS) as (our, peer, _):
        both = (our, peer)
        note(f"{MANY_POINTS} points")
        found["points"] = {one.name: visits.points(browser, one, our.job, MANY_POINTS) for one in both}
    with pair(folder / "jobs", python, through, arguments.jobs, POINTS) as (our, peer, _):
        note(f"{arguments.jobs} jobs")
        found["many_jobs"] = medians(browser, (our, peer), max(1, arguments.runs // 2))
        for one in (our, peer):
            found["many_jobs"][one.name]["memory_mb"] = one.memory()
    found["load_average_at_the_end"] = machine()["load_average"]
    return found


def note(text: str) -> None:
    print(f"{datetime.now(UTC):%H:%M:%S} {text}", file=sys.stderr, flush=True)


def goals(found: dict[str, Any]) -> list[tuple[str, str, bool]]:
    """Each goal, the figures, and whether the goal is met."""

    def times(what: str, ours: float, peers: float, unit: str) -> tuple[str, str, bool]:
        ratio = peers / ours
        return f"{what}: {RATIO:g} times better", f"{ratio:.1f} times ({ours} and {peers} {unit})", ratio >= RATIO

    def both(what: str, key: str) -> tuple[float, float]:
        return found[what]["fluxgymweb"][key], found[what]["gradio"][key]

    idle = found["idle_memory_mb"]
    log, offline = found["busy_log"]["fluxgymweb"], found["offline"]["fluxgymweb"]
    few, many = (found[name]["fluxgymweb"]["first_paint_ms"] for name in ("first_visit", "many_jobs"))
    return [
        times("first paint", *both("first_visit", "first_paint_ms"), "ms"),
        times("memory idle", idle["fluxgymweb"], idle["gradio"], "MB"),
        times("memory with open pages", *both("open_pages", "memory_mb"), "MB"),
        (f"memory idle under {IDLE_MB:g} MB", f"{idle['fluxgymweb']} MB", idle["fluxgymweb"] < IDLE_MB),
        ("busy log: no line lost", f"{log['lost']} of {log['arrived']}", not log["lost"] + log["twice"]),
        ("offline: no line lost", f"{offline['lost']}", not offline["lost"] + offline["twice"]),
        ("first paint with many jobs within 1.5 times that with few", f"{many / few:.2f} times", many < 1.5 * few),
    ]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--jobs", type=int, default=10_000)
    parser.add_argument("--runs", type=int, default=7, help="first visits to each page (default 7)")
    parser.add_argument("--pages", type=int, default=50, help="pages that are open at once (default 50)")
    parser.add_argument("--lines", type=int, default=10_000, help="lines a second (default 10,000)")
    parser.add_argument("--seconds", type=float, default=20.0, help="of the busy log (default 20)")
    parser.add_argument("--offline", type=float, default=60.0, help="seconds without a network (default 60)")
    parser.add_argument("--gradio-python", type=Path, help=f"a Python with {GRADIO} (default: a new environment)")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="fg-bench-") as place, ExitStack() as stack:
        browser = visits.launch(stack.enter_context(sync_playwright()))
        stack.callback(browser.close)
        found = measure(Path(place), browser, arguments)
    file = ROOT / "bench/results" / f"web-{datetime.now(UTC):%Y-%m-%d}.json"
    file.write_text(json.dumps(found, indent=2) + "\n")
    print(file.read_text())
    missed = 0
    for goal, value, met in goals(found):
        missed += not met
        print(f"{'met   ' if met else 'MISSED'} {goal}: {value}")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
