# SPDX-License-Identifier: Apache-2.0
"""Decides which requests are accepted, and sets the headers of every response.

A request has to name this server as its host (after DNS rebinding, it does not), to come from this server's page and
not from another site, and to carry the token or the cookie that a link has set. Other users of this machine can reach
the port too, so the token is required here as well. Pure but for the clock.
"""

import html
import time
from collections import deque
from collections.abc import Callable, Collection

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import HTTPConnection
from starlette.responses import HTMLResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from fluxgym import web_access
from fluxgymweb import answers
from fluxgymweb.answers import WebError

SAFE = {"GET", "HEAD"}
TRIES = 5
TRIES_SECONDS = 60.0

HEADERS = {
    "Content-Security-Policy": "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}

# Browsers do not send the cookie with a navigation from another site. This page repeats it from our own site.
_AGAIN = (
    '<!doctype html><meta charset="utf-8"><meta http-equiv="refresh" content="0; url={url}"><title>FluxGym</title>'
)
_LOCKED = (
    '<!doctype html><html lang="en"><meta charset="utf-8"><title>FluxGym</title><h1>FluxGym</h1>'
    "<p>This browser has no access yet. Run <code>fluxgymctl web open</code> on the machine where FluxGym runs, or "
    "<code>fluxgymctl web url</code> for a link to open here.</p></html>"
)


class Guard:
    """The middleware around the application."""

    def __init__(
        self, app: ASGIApp, *, hosts: Collection[str], token: str, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """`hosts`: the values of the Host header that name this server, in lower case."""
        self.app = app
        self._hosts = hosts
        self._token = token
        self._cookie = web_access.cookie(token)
        self._clock = clock
        self._failed: deque[float] = deque()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
                headers.setdefault("Cache-Control", "no-store")
            await send(message)

        refused = self._refusal(scope)
        await (refused or self.app)(scope, receive, send_with_headers)

    def tried(self, *, right: bool) -> None:
        """Counts an attempt to use a secret, and refuses a wrong one. A right one is always accepted, so that nobody
        can lock the owner out."""
        if right:
            return
        now = self._clock()
        while self._failed and self._failed[0] < now - TRIES_SECONDS:
            self._failed.popleft()
        if len(self._failed) >= TRIES:
            raise WebError(429, "TooManyTries", "Too many wrong tokens or links; wait a minute.")
        self._failed.append(now)

    def _refusal(self, scope: Scope) -> Response | None:
        request = HTTPConnection(scope)
        headers, root = request.headers, scope.get("root_path", "")
        is_safe = scope["method"] in SAFE
        is_page = is_safe and not scope["path"].startswith(f"{root}/api/")
        try:
            self._check_host(headers)
            if headers.get("sec-fetch-site", "none") not in ("same-origin", "none"):
                navigates = (
                    headers.get("sec-fetch-mode") == "navigate" and headers.get("sec-fetch-dest") == "document"
                )
                if is_page and navigates:
                    return HTMLResponse(_AGAIN.format(url=html.escape(_own_url(scope))))
                raise WebError(403, "CrossSite", "Requests from another site are refused; open FluxGym's own page.")
            bearer = self._bearer(headers)
            if not is_safe:
                check_unsafe(headers, scope["scheme"], bearer=bearer)
            if bearer or self._has_cookie(request) or scope["path"] == f"{root}/enter":
                return None
            if is_page:
                return HTMLResponse(_LOCKED, status_code=401)
            raise WebError(401, "TokenMissing", "This browser has no access; run `fluxgymctl web open`.")
        except WebError as error:
            return answers.refusal(error)

    def _check_host(self, headers: Headers) -> None:
        given = headers.getlist("host")
        if len(given) != 1 or given[0].lower() not in self._hosts:
            raise WebError(421, "WrongHost", "Host does not name this server; see `fluxgymweb --allowed-host`.")

    def _bearer(self, headers: Headers) -> bool:
        given = headers.get("authorization")
        if given is None:
            return False
        kind, _, value = given.partition(" ")
        right = kind.lower() == "bearer" and web_access.same(value.strip(), self._token)
        self.tried(right=right)
        if not right:
            raise WebError(401, "TokenWrong", "The token is wrong; docs/web.md says where the right one is.")
        return True

    def _has_cookie(self, request: HTTPConnection) -> bool:
        given = request.cookies.get(cookie_name(request.headers))
        if given is None:
            return False
        right = web_access.same(given, self._cookie)
        self.tried(right=right)
        return right


def cookie_name(headers: Headers) -> str:
    """The name of our cookie. It has the port, since a browser sends the cookies of a host to all of its ports, and
    another web server of the same user has another token."""
    port = headers["host"].rpartition(":")[2]
    return f"fluxgym-{port}" if port.isdecimal() else "fluxgym"


def check_unsafe(headers: Headers, scheme: str, *, bearer: bool) -> None:
    """Refuses changes that our own page did not request: forms and images on another site cannot set X-Fluxgym, and
    every browser sends Origin. A script with the token sends no Origin."""
    origin = headers.get("origin")
    ours = {f"{scheme}://{headers['host'].lower()}", f"https://{headers['host'].lower()}"}  # https: behind a proxy
    if not (bearer and origin is None) and (origin or "").lower() not in ours:
        raise WebError(403, "CrossSite", "The header Origin does not name this server.")
    if headers.get("x-fluxgym") != "1":
        raise WebError(403, "CrossSite", "The header X-Fluxgym is missing; send `X-Fluxgym: 1`.")


def _own_url(scope: Scope) -> str:
    query = scope["query_string"].decode("latin-1")
    path: str = scope["raw_path"].decode("latin-1")
    return "/" + path.lstrip("/\\") + (f"?{query}" if query else "")
