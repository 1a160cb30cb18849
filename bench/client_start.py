# SPDX-License-Identifier: Apache-2.0
"""How long `fluxgymctl list` takes against a running daemon, as a ratio to what its libraries cost anyway.

Both programs run in turns, so that other load on the machine affects both alike; the median of each counts. Issue 2,
item 4: the ratio stays under 2.5.
"""

import argparse
import os
import platform
import statistics
import subprocess
import sys
import time
from pathlib import Path

from fluxgym import config
from fluxgym.errors import ConfigInvalid

GOAL = 2.5


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--socket", help="the socket of a running daemon (default: the configured one)")
    parser.add_argument("--runs", type=int, default=40, help="runs of each program (default 40)")
    arguments = parser.parse_args()

    try:
        socket = config.load(os.environ, {"socket": arguments.socket}).socket
    except ConfigInvalid as error:
        sys.exit(error.message)

    python = sys.executable
    ours = [python, "-c", "import sys; from fluxgymctl.main import main; sys.exit(main())", "list"]
    libraries = [python, "-c", "import click, msgspec"]
    environ = {**os.environ, "FLUXGYM_SOCKET": str(socket)}
    for command in (ours, libraries):  # this warms the disk cache and writes the bytecode
        seconds(command, environ)
    pairs = [(seconds(ours, environ), seconds(libraries, environ)) for _ in range(arguments.runs)]

    of_ours, of_libraries = (statistics.median(column) for column in zip(*pairs, strict=True))
    ratio = of_ours / of_libraries
    print(f"machine           {machine()}")
    print(f"runs              {arguments.runs} of each, alternating; medians")
    print(f"fluxgymctl list   {of_ours * 1000:.1f} ms")
    print(f"click, msgspec    {of_libraries * 1000:.1f} ms")
    print(f"ratio             {ratio:.2f} (goal: under {GOAL})")
    return 0 if ratio < GOAL else 1


def seconds(command: list[str], environ: dict[str, str]) -> float:
    """The wall time of one run. Ends the bench if the run fails, since a refusal would look quick."""
    begin = time.perf_counter()
    done = subprocess.run(command, env=environ, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60)
    taken = time.perf_counter() - begin
    if done.returncode != 0:
        sys.exit(f"{' '.join(command)} failed: {done.stderr.strip()}")
    return taken


def machine() -> str:
    model = next(
        (line.partition(":")[2].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")), "CPU"
    )
    return f"{model}, {os.cpu_count()} cores, Python {platform.python_version()}"


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text(encoding="utf-8").splitlines()
    except OSError:
        return []


if __name__ == "__main__":
    sys.exit(main())
