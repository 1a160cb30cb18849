# SPDX-License-Identifier: Apache-2.0
"""The garbage collector is off while the program imports, on while it trains, and does nothing at exit."""

from __future__ import annotations

import gc
import shlex
import subprocess
import sys

from library import garbage
from tests.harness.waiting import DEADLINE_SECONDS
from tests.sd_scripts.command_line import REQUIRED
from tests.sd_scripts.running import PROGRAM


def said_by(code: str) -> list[str]:
    """What a program in the trainer's folder prints, in lines."""
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=PROGRAM.parent,
        capture_output=True,
        text=True,
        check=True,
        timeout=DEADLINE_SECONDS,
    )
    return done.stdout.splitlines()


def test_the_program_turns_the_collector_off_for_its_imports_and_on_for_the_training() -> None:
    # A module in place of the training, so that nothing is trained; a finder sees when the program imports it.
    told = said_by(f"""
import gc, importlib.util, sys
class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == "library.train.training":
            return importlib.util.spec_from_loader(name, self)
    def create_module(self, spec):
        return None
    def exec_module(self, module):
        print("imports with", gc.isenabled())
        module.run = lambda *_, **__: print("trains with", gc.isenabled(), gc.get_freeze_count() > 0)
sys.meta_path.insert(0, Finder())
sys.argv = ["flux_train_network.py", *{shlex.split(REQUIRED)!r}]
import flux_train_network
flux_train_network.main()
""")
    assert told == ["imports with False", "trains with True True"]


def test_nothing_is_searched_for_cycles_at_exit() -> None:
    code = """
from library import garbage
class Cycle:
    def __init__(self):
        self.own = self
    def __del__(self):
        print("found")
{off}
cycle = Cycle()
print("made")
"""
    assert said_by(code.format(off="")) == ["made", "found"]
    assert said_by(code.format(off="garbage.off()")) == ["made"]


def test_a_pause_leaves_the_collector_as_it_was() -> None:
    assert gc.isenabled()
    with garbage.paused():
        assert not gc.isenabled()
        with garbage.paused():
            assert not gc.isenabled()
        assert not gc.isenabled()
    assert gc.isenabled()
