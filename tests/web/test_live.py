# SPDX-License-Identifier: Apache-2.0
"""The event stream of a page, with a real daemon and a real server, each of which may restart."""

import re
from contextlib import ExitStack
from typing import Any

import psutil
import pytest

from tests.daemon.running import RunningDaemon, program
from tests.harness.waiting import until
from tests.web.serving import RunningWeb, Stream, live

COUNT = "i=0; while [ $i -lt 400 ]; do i=$((i+1)); echo line $i; sleep 0.02; done"


def numbers(text: str) -> list[int]:
    return [int(number) for number in re.findall(r"line (\d+)\n", text)]


def names(data: Any) -> list[str]:
    return [job["context"]["name"] for job in data["jobs"]]


def connections(daemon: RunningDaemon) -> int:
    """The daemon's connections, without the socket that it listens on."""
    assert daemon.process is not None
    sockets = psutil.Process(daemon.process.pid).net_connections("unix")
    return sum(str(one.laddr).startswith(f"{daemon.socket.parent}/") for one in sockets) - 1


def read(stream: Stream, last: int, text: str = "") -> str:
    """Reads the log up to line `last`."""
    for event, data in stream.events():
        if event == "log":
            text += data["text"]
            if f"line {last}\n" in text:
                return text
    raise AssertionError(f"the stream ended after {text[-20:]!r}")


def test_a_page_sees_the_jobs_and_each_change(web: RunningWeb, daemon: RunningDaemon) -> None:
    daemon.submit(program("a", held=True))
    with live(web, jobs="1") as stream:
        first = stream.until("jobs")
        assert first["reset"]
        assert names(first) == ["a"]
        daemon.submit(program("b", held=True))
        while "b" not in names(stream.until("jobs")):
            pass
        daemon.remove("b")
        while "b" not in stream.until("jobs")["removed"]:
            pass
        place = stream.last_id
    with live(web, place, jobs="1") as stream:
        daemon.submit(program("c", held=True))
        again = stream.until("jobs")
        assert not again["reset"]
        assert "a" not in names(again)


def test_three_pages_miss_nothing_and_see_nothing_twice_when_the_daemon_is_killed(
    web: RunningWeb, daemon: RunningDaemon
) -> None:
    daemon.submit(program("a", held=True))
    with ExitStack() as stack:
        streams = [stack.enter_context(live(web, jobs="1", events="")) for _ in range(3)]
        for stream in streams:
            assert names(stream.until("jobs")) == ["a"]
        until(lambda: connections(daemon) == 4, what="the watch and three streams of events")
        daemon.submit(program("b", held=True))
        daemon.kill()
        daemon.start()
        daemon.submit(program("c", held=True))
        for stream in streams:
            shown, submitted = [], []
            for event, data in stream.events():
                if event == "jobs":
                    assert not data["reset"]
                    shown += names(data)
                elif event == "events" and data.get("event", {}).get("kind") == "submitted":
                    submitted.append(data["event"]["job"])
                if "c" in shown and "c" in submitted:
                    break
            assert sorted(shown) == submitted == ["b", "c"]


def test_no_line_of_a_log_is_lost_or_repeated_over_restarts_of_the_server_and_the_daemon(
    web: RunningWeb, daemon: RunningDaemon
) -> None:
    daemon.submit(program("a", COUNT))
    until(lambda: "line 3\n" in daemon.training_log("a"), what="the log to begin")
    with live(web, log="a", offset="0") as stream:
        text = read(stream, 20)
        daemon.kill()
        assert not next(data for event, data in stream.events() if event == "daemon" and not data["up"])["up"]
        daemon.start()
        text = read(stream, 150, text)
        place = stream.last_id
    web.stop()
    web.start()
    with live(web, place, log="a", offset="0") as stream:
        text = read(stream, 400, text)
    assert numbers(text) == list(range(1, 401))


def test_all_pages_share_one_watch_and_one_stream_of_a_log(web: RunningWeb, daemon: RunningDaemon) -> None:
    daemon.submit(program("a", "echo line 1; sleep 600"))
    until(lambda: "line 1\n" in daemon.training_log("a"), what="the log to begin")
    with live(web, jobs="1", log="a") as first:
        read(first, 1)
        until(lambda: connections(daemon) == 2, what="the server to have one watch and one stream of the log")
        with live(web, jobs="1", log="a") as second, live(web, jobs="1", log="a", offset="0") as third:
            assert numbers(read(second, 1)) == numbers(read(third, 1)) == [1]
            until(lambda: connections(daemon) == 2, what="the pages to share the connections")


def test_a_page_learns_that_no_daemon_answers_and_continues_when_one_does(
    web: RunningWeb, daemon: RunningDaemon
) -> None:
    daemon.stop()
    with live(web, jobs="1") as stream:
        told = stream.until("daemon")
        assert not told["up"]
        assert told["problem"]["error"] == "org.fluxgym.Web.DaemonUnreachable"
        daemon.start()
        assert stream.until("daemon")["up"]


def test_an_invalid_stream_is_a_problem_and_the_others_continue(shared_web: RunningWeb) -> None:
    with live(shared_web, jobs="1", log="none") as stream:
        problem = stream.until("problem")
        assert (problem["stream"], problem["error"]) == ("log", "org.fluxgym.Jobs.NoSuchJob")


@pytest.mark.parametrize(
    ("query", "says"),
    [
        ("jbos=1", "The query cannot be read: Object contains unknown field `jbos`."),
        ("log=a&offset=x", "The query cannot be read: Expected `int`, got `str` - at `$.offset`."),
        ("log=a&offset=1.5", "The query cannot be read: Expected `int`, got `str` - at `$.offset`."),
        ("metrics=a&points=", "The query cannot be read: Expected `int | null`, got `str` - at `$.points`."),
        ("log=a&log=b", "The query cannot be read: `log` is there more than once."),
    ],
)
def test_a_query_that_is_wrong_gets_one_sentence(shared_web: RunningWeb, query: str, says: str) -> None:
    with shared_web.client() as client:
        answer = client.get(f"/api/v1/live?{query}")
    assert (answer.status_code, answer.json()["parameters"]["message"]) == (400, says)


def test_a_place_that_is_wrong_is_refused(shared_web: RunningWeb) -> None:
    with shared_web.client(**{"Last-Event-ID": "offset=x"}) as client:
        assert client.get("/api/v1/live?log=a").status_code == 400


def test_events_and_metrics_continue_where_the_page_was(web: RunningWeb, daemon: RunningDaemon) -> None:
    daemon.submit(program("a", held=True))
    with live(web, events="", metrics="a", machine="1") as stream:
        seen: dict[str, Any] = {}
        for event, data in stream.events():
            seen.setdefault(event, data)
            if {"events", "metrics", "machine"} <= seen.keys():
                break
        assert seen["metrics"]["name"] == "a"
        assert seen["machine"]["queuePaused"] is False
        place = stream.last_id
    daemon.submit(program("b", held=True))
    with live(web, place, events="") as stream:
        event = next(data["event"] for name, data in stream.events() if name == "events" and "event" in data)
    assert (event["job"], event["kind"]) == ("b", "submitted")


def test_a_server_with_open_pages_stops_within_its_grace(web: RunningWeb) -> None:
    with live(web, jobs="1") as stream:
        stream.until("jobs")
        web.stop()
