# SPDX-License-Identifier: Apache-2.0
"""Which requests are accepted: host, origin, method and token, as a table; and attacks on a real server."""

import asyncio
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.responses import PlainTextResponse

from fluxgym import web_access
from fluxgymweb.guard import HEADERS, TRIES, Guard
from tests.fluxgymctl.program import ctl
from tests.web.serving import RunningWeb

HOST = "127.0.0.1:7860"
TOKEN = "t" * 43
COOKIE = {"Cookie": f"fluxgym-7860={web_access.cookie(TOKEN)}"}
OTHER = {"Cookie": f"fluxgym-7861={web_access.cookie('other')}"}
BOTH = {"Cookie": f"{OTHER['Cookie']}; {COOKIE['Cookie']}"}
BEARER = {"Authorization": f"Bearer {TOKEN}"}
OURS = {"Origin": f"http://{HOST}", "X-Fluxgym": "1", "Sec-Fetch-Site": "same-origin"}
CROSS = {"Sec-Fetch-Site": "cross-site"}
NAVIGATES = {"Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}
EVIL = {"Origin": "http://evil.example"}
CALL = "/api/v1/org.fluxgym.Jobs.Stop"


def answer(guard: Guard, method: str, path: str, headers: list[tuple[str, str]]) -> tuple[int, dict[str, str], bytes]:
    """The guard's answer to a request with exactly these headers."""
    sent: list[Any] = []
    path, _, query = path.partition("?")

    async def send(message: Any) -> None:
        sent.append(message)

    async def receive() -> Any:
        return {"type": "http.request", "body": b"", "more_body": False}

    scope = {
        "type": "http",
        "method": method,
        "path": path,
        "raw_path": path.encode(),
        "root_path": "",
        "query_string": query.encode(),
        "scheme": "http",
        "headers": [(name.lower().encode(), value.encode()) for name, value in headers],
    }
    asyncio.run(guard(scope, receive, send))
    found = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
    return sent[0]["status"], found, b"".join(message.get("body", b"") for message in sent[1:])


def guard() -> Guard:
    return Guard(PlainTextResponse("in"), hosts={HOST, "gym.example"}, token=TOKEN)


@pytest.mark.parametrize(
    ("method", "path", "host", "headers", "status"),
    [
        ("GET", "/", HOST, COOKIE, 200),
        ("GET", "/", HOST, BOTH, 200),
        ("HEAD", "/", HOST, COOKIE, 200),
        ("GET", "/", HOST, {"Authorization": f"bearer  {TOKEN} "}, 200),
        ("GET", "/", HOST, OTHER, 401),
        ("GET", "/jobs/a", "gym.example", BEARER, 200),
        ("GET", "/", "GYM.example", BEARER, 200),
        ("GET", "/", "evil.example", COOKIE, 421),
        ("GET", "/", "127.0.0.1:7861", COOKIE, 421),
        ("GET", "/", "", COOKIE, 421),
        ("POST", CALL, "evil.example", COOKIE | OURS | EVIL, 421),
        ("GET", "/", HOST, {}, 401),
        ("GET", "/api/v1/live", HOST, {}, 401),
        ("GET", "/api/v1/files/a/b", HOST, {"Cookie": f"fluxgym={TOKEN}"}, 401),
        ("GET", "/", HOST, {"Authorization": "Bearer x"}, 401),
        ("GET", "/", HOST, {"Authorization": f"Basic {TOKEN}"}, 401),
        ("POST", CALL, HOST, COOKIE | OURS, 200),
        ("POST", CALL, HOST, COOKIE | OURS | {"Origin": f"HTTPS://{HOST}"}, 200),
        ("POST", CALL, HOST, BEARER | {"X-Fluxgym": "1"}, 200),
        ("POST", CALL, HOST, OURS, 401),
        ("POST", CALL, HOST, BEARER, 403),
        ("POST", CALL, HOST, COOKIE, 403),
        ("POST", CALL, HOST, COOKIE | {"X-Fluxgym": "1"}, 403),
        ("POST", CALL, HOST, COOKIE | OURS | EVIL, 403),
        ("POST", CALL, HOST, BEARER | OURS | EVIL, 403),
        ("POST", CALL, HOST, COOKIE | OURS | {"Origin": "null"}, 403),
        ("POST", CALL, HOST, COOKIE | OURS | CROSS, 403),
        ("POST", CALL, HOST, COOKIE | OURS | CROSS | NAVIGATES, 403),
        ("POST", CALL, HOST, COOKIE | OURS | {"Sec-Fetch-Site": "same-site"}, 403),
        ("PUT", "/api/v1/uploads/a/b", HOST, COOKIE | CROSS, 403),
        ("DELETE", "/", HOST, COOKIE, 403),
        ("OPTIONS", CALL, HOST, EVIL | {"Access-Control-Request-Method": "POST"}, 403),
        ("GET", "/api/v1/live", HOST, COOKIE | CROSS, 403),
        ("GET", "/api/v1/live", HOST, COOKIE | CROSS | NAVIGATES, 403),
        ("GET", "/icon.svg", HOST, COOKIE | CROSS | {"Sec-Fetch-Dest": "image", "Sec-Fetch-Mode": "no-cors"}, 403),
        ("GET", "/", HOST, COOKIE | CROSS | {"Sec-Fetch-Dest": "iframe", "Sec-Fetch-Mode": "navigate"}, 403),
    ],
)
def test_only_a_request_from_our_page_or_a_script_with_access_is_answered(
    method: str, path: str, host: str, headers: dict[str, str], status: int
) -> None:
    found, sent, body = answer(guard(), method, path, [("Host", host), *headers.items()])
    assert found == status
    assert (body == b"in") == (status == 200)
    assert {name.lower(): value for name, value in HEADERS.items()}.items() <= sent.items()
    assert sent["cache-control"] == "no-store"
    assert not [name for name in sent if name.startswith("access-control")]


@pytest.mark.parametrize("hosts", [[], [HOST, HOST], [HOST, "evil.example"]])
def test_exactly_one_host_header_is_required(hosts: list[str]) -> None:
    assert answer(guard(), "GET", "/", [*(("Host", host) for host in hosts), *COOKIE.items()])[0] == 421


def test_a_link_on_another_site_opens_the_page_as_if_it_were_ours() -> None:
    headers = [("Host", HOST), *CROSS.items(), *NAVIGATES.items()]
    status, _, body = answer(guard(), "GET", '//evil"><x?q="&a', headers)
    assert status == 200
    assert b'content="0; url=/evil&quot;&gt;&lt;x?q=&quot;&amp;a"' in body


@pytest.mark.parametrize(
    ("wrong_secret", "right"), [({"Authorization": "Bearer x"}, BEARER), ({"Cookie": "fluxgym-7860=x"}, COOKIE)]
)
def test_after_five_wrong_secrets_in_a_minute_only_the_right_one_is_accepted(
    wrong_secret: dict[str, str], right: dict[str, str]
) -> None:
    now = [0.0]
    guarded = Guard(PlainTextResponse("in"), hosts={HOST}, token=TOKEN, clock=lambda: now[0])
    wrong = [("Host", HOST), *wrong_secret.items()]
    assert [answer(guarded, "GET", "/", wrong)[0] for _ in range(TRIES + 2)] == [401] * TRIES + [429] * 2
    assert answer(guarded, "GET", "/", [("Host", HOST), *right.items()])[0] == 200
    now[0] = 61.0
    assert answer(guarded, "GET", "/", wrong)[0] == 401


def link(web: RunningWeb) -> str:
    done = ctl("web", "url", XDG_STATE_HOME=web.environment["XDG_STATE_HOME"])
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_a_link_gives_one_browser_access_and_works_only_once(shared_web: RunningWeb) -> None:
    url = link(shared_web)
    assert url.startswith(f"{shared_web.base}/enter?code=")
    with shared_web.stranger() as browser, shared_web.stranger() as second_user:
        entered = browser.get(url)
        assert (entered.status_code, entered.headers["location"]) == (303, "/")
        cookie = entered.headers["set-cookie"].lower()
        assert "httponly" in cookie
        assert "samesite=strict" in cookie
        assert browser.get("/api/v1/summary").status_code == 200
        assert second_user.get(url).status_code == 403
        assert second_user.get("/api/v1/summary").status_code == 401
    code = url.partition("=")[2]
    for secret in (code, shared_web.token):
        assert secret not in shared_web.log.read_text()
        assert secret not in entered.text + str(entered.headers)
    files = [path for path in shared_web.state.rglob("*") if path.is_file()]
    assert files
    assert {path.stat().st_mode & 0o077 for path in files} == {0}
    assert [path for path in files if code in path.name or code in path.read_text()] == []


def test_a_get_changes_nothing(shared_web: RunningWeb) -> None:
    with shared_web.client() as client:
        for path in ("org.fluxgym.Machine.Pause", "org.fluxgym.Datasets.Create?name=x"):
            assert client.get(f"/api/v1/{path}").status_code in (404, 405)
        assert client.post("/api/v1/org.fluxgym.Machine.Info").json()["queuePaused"] is False


@pytest.mark.parametrize(
    "path",
    [
        *("/../pyproject.toml", "/%2e%2e/app.py", "/assets/%2e%2e/%2e%2e/app.py", "/assets/..%5c..%5capp.py"),
        *("/api/v1/files/a/..%2f..%2fowner.json", "/api/v1/files/..%2f../x", "/api/v1/files/a//etc/passwd"),
        "/api/v1/thumbnails/datasets/..%2f../x",
    ],
)
def test_no_url_reaches_a_file_outside(shared_web: RunningWeb, path: str) -> None:
    with shared_web.client() as client:
        found = client.send(httpx.Request("GET", f"{shared_web.base}{path}", headers=client.headers))
    assert found.status_code in (400, 404) or found.headers["content-type"].startswith("text/html")
    assert b"SPDX" not in found.content
    assert b"root:" not in found.content


def test_another_address_needs_a_free_port_and_the_holder_of_a_busy_one_is_named(
    shared_web: RunningWeb, tmp_path: Path
) -> None:
    second = RunningWeb(tmp_path, tmp_path / "none")
    second.port = shared_web.port
    with pytest.raises(AssertionError, match=rf"Port {shared_web.port} is in use by \S+ \(process \d+\); stop it"):
        second.start()
