# SPDX-License-Identifier: Apache-2.0
"""The methods over HTTP: each of them is a route, and an error keeps its name and fields."""

import ast
import importlib
import json
from pathlib import Path

import pytest
from starlette.applications import Starlette
from starlette.routing import Route

from fluxgym.protocol.async_client import AsyncClient
from fluxgym.protocol.method_table import METHODS, TABLES
from fluxgym.protocol.methods import Method
from fluxgymweb import app
from tests.daemon.running import RunningDaemon, program
from tests.fluxgym.described import METHODS as DESCRIBED
from tests.web.serving import RunningWeb

WITHOUT_VERB = {
    "org.varlink.service.GetInterfaceDescription": "for tools such as varlinkctl",
    "org.fluxgym.Datasets.Thumbnail": "a file of a cache, for a program that shows it at once",
    "org.fluxgym.Jobs.Thumbnail": "likewise; `samples` has the paths of the samples themselves",
}
"""The methods that fluxgymctl does not call, and why."""


def test_every_method_is_a_route() -> None:
    assert set(METHODS) == set(DESCRIBED)


def test_every_route_is_a_method_or_an_addition_that_is_listed(tmp_path: Path) -> None:
    created = app.create(AsyncClient(tmp_path / "none"), folder=tmp_path / "web", hosts=set()).app
    assert isinstance(created, Starlette)
    routes = {route.path: route.methods for route in created.routes if isinstance(route, Route)}
    assert len(routes) == len(created.routes)
    assert routes.pop("/api/v1/{method}") == {"POST"}
    assert routes.pop("/api/v1/uploads/{dataset}/{file}") == {"PUT"}
    assert routes.keys() == app.ADDITIONS.keys() - {"/api/v1/uploads/{dataset}/{file}"}
    assert [path for path, methods in routes.items() if methods != {"GET", "HEAD"}] == []


def test_every_method_has_a_verb(checkout: Path) -> None:
    rows = {
        name: value.name
        for table in TABLES
        for name, value in vars(importlib.import_module(f"fluxgym.protocol.{table}")).items()
        if isinstance(value, Method)
    }
    assert set(rows.values()) == set(METHODS)
    used = {
        node.id
        for file in (checkout / "fluxgymctl").rglob("*.py")
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.Name)
    }
    assert {method for name, method in rows.items() if name not in used} == WITHOUT_VERB.keys()


def test_the_server_keeps_to_its_budget(checkout: Path) -> None:
    lines = {file.name: len(file.read_text().splitlines()) for file in (checkout / "fluxgymweb").glob("*.py")}
    assert len(lines) > 10
    assert sum(lines.values()) <= 1_200
    assert max(lines.values()) <= 350


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
