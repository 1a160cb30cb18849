# SPDX-License-Identifier: Apache-2.0
"""The server below a path of a reverse proxy, which takes the path away from each request and keeps the host."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import httpx
import pytest

from fluxgym import web_access
from tests.daemon.running import RunningDaemon, program
from tests.web.serving import RunningWeb, live

PROXY = "https://gpu.example"
BELOW = "/people/alice"


@pytest.fixture
def proxied(folder: Path, daemon: RunningDaemon) -> Iterator[RunningWeb]:
    arguments = ("--root-path", f"{BELOW}/", "--allowed-host", "gpu.example")
    with RunningWeb(folder, daemon.socket, arguments=arguments) as web:
        yield web


def through(
    web: RunningWeb,
    client: httpx.Client,
    url: str,
    headers: Mapping[str, str],
    *,
    json: Mapping[str, str] | None = None,
) -> httpx.Response:
    """The answer to a request for a URL of the proxy: a POST if it has a body."""
    return client.request(
        "GET" if json is None else "POST",
        web.base + url.removeprefix(PROXY).removeprefix(BELOW),
        json=json,
        headers={"Host": "gpu.example"} | dict(headers),
    )


def test_everything_works_below_the_path_of_a_proxy(proxied: RunningWeb, daemon: RunningDaemon) -> None:
    daemon.submit(program("a"))
    with proxied.stranger() as browser:
        link = f"{PROXY}{BELOW}/enter?code={web_access.new_link(proxied.state)}"
        entered = through(proxied, browser, link, {})
        assert (entered.status_code, entered.headers["location"]) == (303, f"{BELOW}/")
        cookie = entered.headers["set-cookie"]
        assert f"; Path={BELOW}/" in cookie
        access = {"Cookie": cookie.partition(";")[0]}

        page = through(proxied, browser, f"{BELOW}/jobs/a", access)
        assert f'data-root="{BELOW}"' in page.text
        scripts = re.findall(r'src="([^"]+)"', page.text)
        assert scripts
        for script in scripts:
            assert script.startswith(f"{BELOW}/assets/")
            assert "javascript" in through(proxied, browser, script, access).headers["content-type"]

        ours = {**access, "X-Fluxgym": "1", "Origin": PROXY}
        method = f"{BELOW}/api/v1/org.fluxgym.Jobs.Describe"
        answer = through(proxied, browser, method, ours, json={"name": "a"})
        assert answer.json()["job"]["context"]["name"] == "a"
        log = through(proxied, browser, f"{BELOW}/api/v1/files/a/events.jsonl", {**access, "Range": "bytes=0-9"})
        assert (log.status_code, len(log.content)) == (206, 10)
    with live(proxied, jobs="1", log="a") as stream:
        assert [job["context"]["name"] for job in stream.until("jobs")["jobs"]] == ["a"]
    assert web_access.address(proxied.state) == f"{proxied.base}{BELOW}"


def test_a_host_that_is_not_allowed_is_refused_with_the_option_that_allows_it(proxied: RunningWeb) -> None:
    with proxied.client(Host="gpu.example.evil") as client:
        refused = client.get("/")
    assert refused.status_code == 421
    assert "--allowed-host" in refused.json()["parameters"]["message"]
