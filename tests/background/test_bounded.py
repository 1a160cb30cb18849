# SPDX-License-Identifier: Apache-2.0
"""Tests of bounded programs: a program cannot exceed its limits, and the error names the limit that ended it."""

import sys

import pytest

from fluxgymd.background import bounded
from fluxgymd.background.bounded import Overran, ProgramOutput
from fluxgymd.background.helpers import ResourceLimits
from tests.harness.waiting import DEADLINE_SECONDS

NONE = ResourceLimits()


def run(
    program: str, *, limits: ResourceLimits = NONE, seconds: float = DEADLINE_SECONDS, most: int = 1 << 20
) -> ProgramOutput:
    return bounded.run([sys.executable, "-c", program], seconds=seconds, most=most, limits=limits)


def test_output_errors_and_status_are_those_of_the_program() -> None:
    ended = run("import sys; print('a' * 300_000); print('b' * 300_000, file=sys.stderr); sys.exit(3)")
    assert (ended.status, ended.output) == (3, b"a" * 300_000 + b"\n")
    assert ended.errors == b"b" * (bounded.ERRORS_BYTES - 1) + b"\n"


def test_a_program_that_cannot_be_run_says_so() -> None:
    ended = bounded.run(["/no/such/program"], seconds=DEADLINE_SECONDS, most=1, limits=ResourceLimits(nice=1))
    assert (ended.status, ended.errors) == (1, b"/no/such/program cannot be run: No such file or directory\n")


def test_memory_beyond_the_limit_is_not_available() -> None:
    fill = "x = bytearray(1 << 30); print(len(x))"
    assert run(fill).status == 0
    ended = run(fill, limits=ResourceLimits(data_bytes=512 << 20))
    assert ended.status == 1
    assert b"MemoryError" in ended.errors


def test_cpu_time_beyond_the_limit_ends_it() -> None:
    with pytest.raises(Overran, match=r"^it took more than 1 s of CPU time$"):
        run("while True: pass", limits=ResourceLimits(cpu_seconds=1))


SILENT = "import os, signal; os.close(1); os.close(2); signal.pause()"
TALKING = "import signal\nwhile True: print('x', flush=True); signal.sigtimedwait([], 0.1)"


@pytest.mark.parametrize("program", [SILENT, TALKING])
def test_time_beyond_the_limit_ends_it_whatever_it_does(program: str) -> None:
    with pytest.raises(Overran, match=r"^it took more than 2 s$"):
        run(program, seconds=2.0, most=1 << 40)


def test_output_beyond_the_limit_ends_it() -> None:
    with pytest.raises(Overran, match=r"^it printed more than 1000 bytes$"):
        run("while True: print('x' * 1000)", most=1000)


def test_it_yields_to_other_programs() -> None:
    nice = "import os; print(os.nice(0))"
    before, after = run(nice), run(nice, limits=ResourceLimits(nice=10))
    assert int(after.output) == min(19, int(before.output) + 10)
