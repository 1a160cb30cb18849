# SPDX-License-Identifier: Apache-2.0
"""The methods over HTTP: each of fluxgym's tables is a route, and an error keeps its name and fields."""

import json

import pytest

from fluxgymweb.methods import METHODS
from tests.daemon.running import RunningDaemon, program
from tests.fluxgym.described import METHODS as DESCRIBED
from tests.web.serving import RunningWeb


def test_every_method_is_a_route() -> None:
    assert set(METHODS) == set(DESCRIBED)


def test_one_reply_is_one_object(shared_web: RunningWeb) -> None:
    answer = shared_web.call("org.fluxgym.Machine.Info")
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/json")
    assert answer.json()["home"]


def test_a_stream_is_one_object_per_line(web: RunningWeb, daemon: RunningDaemon) -> None:
    for name in ("a", "b"):
        daemon.submit(program(name))
    answer = web.call("org.fluxgym.Jobs.List")
    assert answer.headers["content-type"] == "application/x-ndjson"
    rows = [json.loads(line) for line in answer.text.splitlines()]
    assert [row["job"]["context"]["name"] for row in rows if "job" in row] == ["b", "a"]


@pytest.mark.parametrize(
    ("method", "parameters", "status", "error", "says"),
    [
        ("org.fluxgym.Jobs.Describe", {"name": "x"}, 404, "org.fluxgym.Jobs.NoSuchJob", "There is no job x."),
        ("org.fluxgym.Jobs.Describe", {}, 400, "org.fluxgym.Web.InvalidParameter", "field `name`"),
        ("org.fluxgym.Jobs.Describe", {"name": 5}, 400, "org.fluxgym.Web.InvalidParameter", "$.name"),
        ("org.fluxgym.Datasets.Create", {"name": "/"}, 400, "org.fluxgym.Jobs.InvalidName", "/"),
        ("org.fluxgym.Jobs.Nothing", {}, 404, "org.fluxgym.Web.MethodNotFound", "no such method"),
        ("org.fluxgym.Jobs.Logs", {"name": "x"}, 404, "org.fluxgym.Jobs.NoSuchJob", "There is no job x."),
    ],
)
def test_an_error_keeps_its_name_and_its_sentence(
    shared_web: RunningWeb, method: str, parameters: dict[str, object], status: int, error: str, says: str
) -> None:
    answer = shared_web.call(method, **parameters)
    assert (answer.status_code, answer.json()["error"]) == (status, error)
    assert says in answer.json()["parameters"]["message"]


def test_without_a_daemon_every_call_says_how_to_start_one(web: RunningWeb, daemon: RunningDaemon) -> None:
    daemon.stop()
    answer = web.call("org.fluxgym.Machine.Info")
    assert (answer.status_code, answer.json()["error"]) == (503, "org.fluxgym.Web.DaemonUnreachable")
    assert "systemctl --user start fluxgymd" in answer.json()["parameters"]["message"]
