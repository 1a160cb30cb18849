# SPDX-License-Identifier: Apache-2.0
"""Tests of the rules in FLUXGYM_FAILPOINTS: what happens at which failpoint and pass, and which rules are invalid."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from fluxgymd.attempts import shim
from fluxgymd.failpoints import VARIABLE, parse
from tests.harness.waiting import DEADLINE_SECONDS

DAEMON = "from fluxgymd.failpoints import failpoint"
SHIM = "from fluxgymd.attempts.shim import failpoint"
PASSES = """
for number in range(1, 5):
    try:
        failpoint("a.b")
        print(number, "passed", flush=True)
    except OSError as error:
        print(number, error.errno, flush=True)
"""


def passes(rules: str, *, where: str, checkout: Path) -> tuple[list[str], int, str]:
    """Passes the failpoint `a.b` four times. Returns the lines of stdout, the exit status, and stderr."""
    done = subprocess.run(
        [sys.executable, "-c", where + PASSES],
        env=os.environ | {VARIABLE: rules},
        cwd=checkout,
        capture_output=True,
        text=True,
        timeout=DEADLINE_SECONDS,
    )
    return done.stdout.splitlines(), done.returncode, done.stderr


@pytest.mark.parametrize("where", [DAEMON, SHIM], ids=["daemon", "shim"])
@pytest.mark.parametrize(("rules", "survived"), [("a.b=kill", 0), ("x=kill,a.b=kill:3", 2), ("a.b=kill:1", 0)])
def test_it_is_killed_at_the_requested_pass(checkout: Path, rules: str, survived: int, where: str) -> None:
    lines, status, told = passes(rules, where=where, checkout=checkout)
    assert lines == [f"{number} passed" for number in range(1, survived + 1)]
    assert status == -signal.SIGKILL
    assert told == "failpoint a.b: kill -9\n"


@pytest.mark.parametrize("where", [DAEMON, SHIM], ids=["daemon", "shim"])
@pytest.mark.parametrize("rules", ["", "a.c=kill", "a.b=kill:5", "xa.b=kill"])
def test_nothing_happens_otherwise(checkout: Path, rules: str, where: str) -> None:
    assert passes(rules, where=where, checkout=checkout) == ([f"{number} passed" for number in range(1, 5)], 0, "")


@pytest.mark.parametrize(
    ("rule", "failing"),
    [("error:ENOSPC", {1, 2, 3, 4}), ("error:ENOSPC:2", {2}), ("error:ENOSPC:2-3", {2, 3})],
)
def test_the_disk_refuses_at_the_requested_passes(checkout: Path, rule: str, failing: set[int]) -> None:
    lines, status, _ = passes(f"a.b={rule}", where=DAEMON, checkout=checkout)
    assert lines == [f"{n} {errno.ENOSPC}" if n in failing else f"{n} passed" for n in range(1, 5)]
    assert status == 0


HANGS = """
import os, sys, threading, time
def passes():
    for number in range(1, 5):
        failpoint("a.b")
        print(number, "passed", flush=True)
thread = threading.Thread(target=passes)
thread.start()
def where():
    return sys._current_frames()[thread.ident].f_code.co_qualname
while where() != "Condition.wait":
    time.sleep(0.01)
print("waits", flush=True)
os._exit(0)
"""


@pytest.mark.parametrize(("rule", "passed"), [("hang", 0), ("hang:1", 0), ("hang:3", 2)])
def test_a_thread_hangs_at_the_requested_pass(checkout: Path, rule: str, passed: int) -> None:
    done = subprocess.run(
        [sys.executable, "-c", DAEMON + HANGS],
        env=os.environ | {VARIABLE: f"a.b={rule}"},
        cwd=checkout,
        capture_output=True,
        text=True,
        timeout=DEADLINE_SECONDS,
    )
    assert done.stdout.splitlines() == [*(f"{number} passed" for number in range(1, passed + 1)), "waits"]
    assert (done.stderr, done.returncode) == ("failpoint a.b: hangs\n", 0)


@pytest.mark.parametrize(
    "rules", ["a.b", "a.b=", "a.b=explode", "a.b=kill:x", "a.b=hang:", "a.b=error:", "a.b=error:ENOTHING", "=kill"]
)
def test_a_value_that_is_not_a_rule_is_refused_with_a_sentence(checkout: Path, rules: str) -> None:
    with pytest.raises(ValueError, match="write NAME=kill"):
        parse(rules)
    lines, status, told = passes(rules, where=DAEMON, checkout=checkout)
    assert (lines, status) == ([], 1)
    assert told.startswith(f"fluxgymd: {VARIABLE} holds ")


def test_the_shim_reads_the_same_variable() -> None:
    assert VARIABLE in Path(shim.__file__).read_text()
