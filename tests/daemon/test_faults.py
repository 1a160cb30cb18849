# SPDX-License-Identifier: Apache-2.0
"""A failure to watch a job is reported in its status and by Health. Its end is recorded as soon as possible."""

from pathlib import Path

from fluxgym.protocol.messages import State
from tests.daemon.running import RunningDaemon, program
from tests.harness.waiting import until

WRITES = """printf x > made; echo '{"files": [{"path": "made", "size": 1}]}' > result.json"""
TOLD = "Running its attempt failed (OSError: [Errno 5] Input/output error)"


def test_a_watch_that_keeps_failing_is_shown_in_health_and_logged_once(folder: Path) -> None:
    # The first six attempts to watch fail; all of them belong to the first job.
    fails = {"FLUXGYM_FAILPOINTS": "watch.begins=error:EIO:1-6"}
    with RunningDaemon(folder, arguments=("--supervisor", "process"), env=fails) as daemon:
        daemon.submit(program("first", WRITES))
        until(lambda: TOLD in str(daemon.job("first").runtime.reason), what="its status to tell what fails")
        assert [sentence for sentence in daemon.info().degraded if sentence.startswith(f"The job first: {TOLD}")]
        daemon.wait("first", State.COMPLETED)  # as soon as it can be watched
        assert daemon.info().degraded == []
        daemon.submit(program("second", WRITES))
        daemon.wait("second", State.COMPLETED)
        assert daemon.log.read_text().count("running its attempt failed") == 1
