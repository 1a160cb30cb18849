# SPDX-License-Identifier: Apache-2.0
"""A job whose steps have become slow is reported as slow, and is left alone."""

import json
from pathlib import Path

from fluxgym.protocol.messages import Slow, State, WatchdogMode
from tests.daemon.running import RunningDaemon, program
from tests.harness.waiting import until

USUAL, LONG = 100, 60
"""Numbers of steps of 1 s and of 4 s."""
BEGAN = 1_700_000_000.0


def reports(*seconds: float) -> str:
    """What a trainer appends to metrics.jsonl for steps that take this long."""
    at, lines = BEGAN, []
    for step, one in enumerate((0.0, *seconds)):
        at += one
        lines.append(json.dumps({"time": at, "phase": "training", "step": step, "totalSteps": 10_000}))
    return "".join(f"{line}\n" for line in lines)


def test_slow_steps_are_reported_until_they_recover_and_after_a_restart_of_the_daemon(
    daemon: RunningDaemon, folder: Path
) -> None:
    usual = reports(*[1.0] * USUAL)
    slow = reports(*[1.0] * USUAL, *[4.0] * LONG)
    recovered = reports(*[1.0] * USUAL, *[4.0] * LONG, *[1.0] * USUAL)
    (folder / "usual").write_text(usual)
    (folder / "slow").write_text(slow.removeprefix(usual))
    (folder / "recovered").write_text(recovered.removeprefix(slow))
    script = "\n".join(
        f"until [ -e {folder}/{name}.go ]; do sleep 0.1; done; cat {folder}/{name} >> metrics.jsonl"
        for name in ("usual", "slow", "recovered")
    )
    script += f"\nuntil [ -e {folder}/end ]; do sleep 0.1; done; echo '{{\"files\": []}}' > result.json"
    daemon.submit(program("a", script, watchdog=WatchdogMode.ACT))
    (folder / "usual.go").touch()
    assert daemon.wait_for_step("a", USUAL).runtime.slow is None
    (folder / "slow.go").touch()
    told = until(lambda: daemon.job("a").runtime.slow, what="the job to be slow")
    assert told == Slow(since=BEGAN + USUAL, seconds_per_step=4.0, usual=1.0)
    daemon.kill()
    daemon.start()
    assert until(lambda: daemon.job("a").runtime.slow, what="the job to be slow again") == told
    assert daemon.job("a").runtime.state is State.RUNNING, "nothing is done about it"
    (folder / "recovered.go").touch()
    until(lambda: daemon.job("a").runtime.slow is None, what="the job to recover")
    (folder / "end").touch()
    daemon.wait("a", State.COMPLETED)
