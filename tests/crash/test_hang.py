# SPDX-License-Identifier: Apache-2.0
"""kill -9 at every failpoint between the verdict "stuck" and the resumed training: the next daemon continues where
the last one was, and the promises hold."""

from __future__ import annotations

import signal
from pathlib import Path

from fluxgym.protocol import methods as m
from fluxgym.protocol.messages import State
from tests.crash import names
from tests.crash.life import Life
from tests.crash.material import short
from tests.crash.mortal import Died, MortalDaemon
from tests.crash.promises import check_history, check_nothing_runs, check_result
from tests.daemon.running import TRAINING_SECONDS
from tests.harness.waiting import until

LIMITS = {"interval_seconds": 1.0, "training_still_seconds": 8.0}
AT = (*names.APPEND, names.STUCK, "stop.", "end.")
ENV = {"FLUXGYM_STOP_LIMIT_SECONDS": "1"}


def hanging(folder: Path, model: Path) -> Life:
    """A job that hangs once, at step 10."""
    options = dict(short("my-lora", model).trainer_options or {})
    options |= {"debug_hang": ["sleep@training:10"], "debug_hang_once": [str(folder / "hung")]}
    daemon = MortalDaemon(folder, {}, env=ENV)
    return Life(daemon, short("my-lora", model, watchdog_limits=LIMITS, trainer_options=options))


def test_promises_4_5_and_7_a_hang_is_acted_on_to_its_end_whoever_dies(
    folder: Path, model: Path, undisturbed: dict[str, bytes]
) -> None:
    life = hanging(folder, model)
    with life.daemon as daemon:
        daemon.start()
        life.submit()
        until((folder / "hung").exists, what="the hang", deadline_seconds=TRAINING_SECONDS)
        daemon.kill()
        daemon.rules = dict.fromkeys(names.names(*AT), 1)
        life.wait_for(State.COMPLETED)
        check_result(daemon, "my-lora", undisturbed)
        check_history(daemon, daemon.trainers, "my-lora")
        check_nothing_runs(daemon)
        assert daemon.rules == {}, "these failpoints were never met"

        stuck = [event for event in daemon.events("my-lora") if event["event"] == "stuck"]
        assert [(event["attempt"], event["acts"]) for event in stuck] == [(1, True)]
        evidence = daemon.folder("my-lora") / "attempts" / "001" / "evidence"
        assert "in sleep\n" in (evidence / "stacks.txt").read_text()
        assert (evidence / "verdict.json").exists()


def test_a_stop_during_the_response_to_a_hang_stays_a_stop(folder: Path, model: Path) -> None:
    life = hanging(folder, model)
    with life.daemon as daemon:
        daemon.rules = {"stuck.saved": 1}
        daemon.start()
        life.submit()
        until(lambda: died(daemon), what="the daemon to die over the hang", deadline_seconds=TRAINING_SECONDS)
        daemon.rules = {"stuck.asked": 1, "stop.terminated": 1, "end.judged": 1}
        daemon.start()
        life.ask(m.STOP)
        stopped = life.wait_for(State.STOPPED)
        assert (stopped.runtime.reason or "").startswith("It was stopped by the user at step 9")
        ends = [event for event in daemon.events("my-lora") if event["event"] == "ended"]
        assert [(end["outcome"], end.get("again")) for end in ends] == [("stopped", None)]
        assert ends[0]["exit"]["signal"] == signal.SIGKILL


def died(daemon: MortalDaemon) -> bool:
    try:
        daemon.look()
    except Died:
        return True
    return False
