# SPDX-License-Identifier: Apache-2.0
"""A real daemon tests the hooks that are set."""

from pathlib import Path

import pytest

from fluxgym.errors import InvalidParameter
from fluxgym.protocol import machine_methods as mm
from fluxgym.protocol.client import Connection
from fluxgym.protocol.machine_messages import HookResult
from tests.daemon.hook_scripts import keeps, kept
from tests.daemon.running import RunningDaemon, write_script
from tests.fluxgymctl.program import ctl, started
from tests.harness.waiting import DEADLINE_SECONDS, until


def results_of(daemon: RunningDaemon, event: str | None = None) -> dict[str, HookResult]:
    with Connection(daemon.socket) as connection:
        replies = list(connection.stream(mm.TEST_HOOK, mm.TestHookParameters(hook=event)))
    assert replies[-1].result is None
    return {reply.result.hook: reply.result for reply in replies if reply.result is not None}


def test_each_hook_that_is_set_is_called_with_an_object_marked_as_a_test(folder: Path) -> None:
    fails = write_script(folder / "fails", "echo no such channel >&2; exit 3")
    env = {"FLUXGYM_HOOKS_ON_FINISH": str(keeps(folder, "finish")), "FLUXGYM_HOOKS_ON_FAIL": str(fails)}
    with RunningDaemon(folder, arguments=("--supervisor", "process"), env=env) as daemon:
        results = results_of(daemon)
        assert set(results) == {"finish", "fail"}
        good, bad = results["finish"], results["fail"]
        assert (good.problem, good.status, good.output) == (None, 0, "")
        assert (bad.problem, bad.status, bad.output) == ("it ended with status 3", 3, "no such channel\n")
        told = kept(folder, "finish")
        assert (told["version"], told["event"], told["test"]) == (1, "finish", True)
        assert told["text"] == "This is a test of the hook on_finish; nothing has happened."
        assert told["job"]["runtime"]["state"] == "completed"
        assert daemon.jobs() == []

        assert set(results_of(daemon, "fail")) == {"fail"}
        with pytest.raises(InvalidParameter, match="parameter hook"):
            results_of(daemon, "end")

        shown = ctl("hooks", "test", socket=daemon.socket)
        assert (shown.returncode, shown.stderr) == (1, "")
        assert "on_fail failed: it ended with status 3 (" in shown.stdout
        assert "\n    no such channel\n" in shown.stdout
        assert ctl("hooks", "test", "finish", socket=daemon.socket).returncode == 0
        unset = ctl("hooks", "test", "stuck", socket=daemon.socket)
        assert (unset.returncode, unset.stdout) == (1, "")
        assert 'The hook on_stuck is not set; write on_stuck = ["/path' in unset.stderr


def test_without_a_hook_the_answer_says_how_to_set_one(daemon: RunningDaemon) -> None:
    with Connection(daemon.socket) as connection:
        (reply,) = connection.stream(mm.TEST_HOOK, mm.TestHookParameters())
    assert reply.problem is not None
    assert reply.problem.startswith("No hook is set; write on_finish = [")


def test_a_daemon_exits_even_if_a_hook_under_test_hangs(folder: Path) -> None:
    hangs = write_script(folder / "hangs", f"touch {folder}/began; exec sleep 300")
    env = {"FLUXGYM_HOOKS_ON_FINISH": str(hangs), "FLUXGYM_HOOKS_DEADLINE_SECONDS": "300"}
    with (
        RunningDaemon(folder, arguments=("--supervisor", "process"), env=env) as daemon,
        started("hooks", "test", socket=daemon.socket) as client,
    ):
        until((folder / "began").exists, what="the hook to begin")
        daemon.stop()
        assert client.wait(DEADLINE_SECONDS) != 0
