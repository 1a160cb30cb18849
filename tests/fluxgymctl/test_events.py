# SPDX-License-Identifier: Apache-2.0
"""`events`: what happens to all jobs, with a cursor that outlives the daemon."""

import json
import re
import select

from fluxgym.protocol.messages import State
from tests.daemon.running import RunningDaemon
from tests.fluxgymctl.program import ctl, rows, started
from tests.fluxgymctl.programs import submit
from tests.harness.waiting import DEADLINE_SECONDS

LINE = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d  "


def test_events_of_all_jobs_or_of_one_are_lines_with_their_job(daemon: RunningDaemon) -> None:
    submit(daemon, "a", "--hold")
    submit(daemon, "b", "--hold")
    done = ctl("events", socket=daemon.socket)
    assert (done.returncode, done.stderr) == (0, "")
    assert re.fullmatch(f"{LINE}a  It was submitted.\n{LINE}b  It was submitted.\n", done.stdout)
    done = ctl("events", "b", socket=daemon.socket)
    assert re.fullmatch(f"{LINE}b  It was submitted.\n", done.stdout)


def test_promise_1_a_cursor_continues_after_a_crash_of_the_daemon_without_a_lost_event(daemon: RunningDaemon) -> None:
    submit(daemon, "a", "--hold")
    cursor = rows(ctl("events", "--json", socket=daemon.socket))[-1]["cursor"]
    assert ctl("release", "a", socket=daemon.socket).returncode == 0
    daemon.wait("a", State.COMPLETED)
    daemon.kill()
    daemon.start()
    replies = rows(ctl("events", "--json", "--after", cursor, socket=daemon.socket))
    kinds = [reply["event"]["kind"] for reply in replies if "event" in reply]
    assert (kinds[0], kinds[-1]) == ("released", "completed")
    assert [reply["event"]["at"] for reply in replies if "event" in reply] == [
        event["at"] for event in daemon.events("a")[1:]
    ]
    last = rows(ctl("events", "--json", "--after", replies[-1]["cursor"], socket=daemon.socket))
    assert [reply.keys() for reply in last] == [{"cursor"}]


def test_events_are_followed_across_a_restart_of_the_daemon(daemon: RunningDaemon) -> None:
    submit(daemon, "a", "--hold")
    with started("events", "a", "-f", "--json", socket=daemon.socket) as following:
        assert following.stdout is not None
        assert select.select([following.stdout], [], [], DEADLINE_SECONDS)[0], "it gets a cursor at once"
        daemon.kill()
        daemon.start()
        assert ctl("release", "a", socket=daemon.socket).returncode == 0
        daemon.wait("a", State.COMPLETED)
        daemon.remove("a")  # which ends the stream
        told, _ = following.communicate(timeout=DEADLINE_SECONDS)
    assert following.returncode == 0
    replies = [json.loads(line) for line in told.splitlines()]
    kinds = [reply["event"]["kind"] for reply in replies if "event" in reply]
    assert (kinds[0], kinds[-1], kinds.count("completed")) == ("released", "completed", 1)


def test_an_invalid_cursor_is_explained(daemon: RunningDaemon) -> None:
    done = ctl("events", "--after", "nonsense", socket=daemon.socket)
    assert (done.returncode, done.stdout) == (0, "")
    assert "The events since then are unknown" in done.stderr
