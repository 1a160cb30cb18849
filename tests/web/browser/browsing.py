# SPDX-License-Identifier: Apache-2.0
"""Debian's Chromium, a fresh profile for each test, and what may never happen in one.

A visit fails at its end if the page asked a foreign host for anything, broke its own content security policy, wrote
an error to the console, or left an exception uncaught.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, Playwright, Request, expect

from fluxgym import web_access
from tests.daemon.running import RunningDaemon
from tests.harness.waiting import until
from tests.web.serving import RunningWeb

Served = tuple[RunningDaemon, RunningWeb]
"""A daemon, and the web server before it."""

CHROMIUM = "/usr/bin/chromium-headless-shell"
"""The whole browser takes three times the CPU time for a page, most of it for a window that nobody sees."""
BROWSER_MS = 60_000.0
"""A bound for hangs of one step in a browser; a test that passes never waits this long."""

EVIL = "evil.example"
"""The name of another site, which leads to this machine."""

DESKTOP = (1280, 900)
PHONE = (390, 844)

_NOT_LOADED = "Failed to load resource: "

# A headless browser says of every tab that it is visible, so a tab is told what it would see elsewhere.
_HIDDEN = """Object.defineProperty(document, "hidden", {get: () => window.isHidden ?? false});"""
_TURN = """(hidden) => {
    window.isHidden = hidden;
    document.dispatchEvent(new Event("visibilitychange"));
}"""

expect.set_options(timeout=BROWSER_MS)


def launch(playwright: Playwright, folder: Path) -> Browser:
    """Starts Chromium, which keeps its files in the folder. No name but one leads anywhere."""
    arguments = [
        f"--host-resolver-rules=MAP {EVIL} 127.0.0.1, MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
        "--lang=en-US",  # else it makes no language from a locale like C or POSIX that the standard knows
    ]
    if os.geteuid() == 0:
        arguments.append("--no-sandbox")  # Chromium refuses to start as root with it
    return playwright.chromium.launch(
        executable_path=CHROMIUM,
        args=arguments,
        env={**os.environ, "TMPDIR": str(folder)},
        timeout=BROWSER_MS,
    )


class Visit:
    """A profile of the browser that has access to a server."""

    def __init__(self, context: BrowserContext, web: RunningWeb) -> None:
        self.context = context
        self.web = web
        self.faults: list[str] = []
        self.may_miss_answers = False
        """Whether requests may fail: the test stops the server or the network, or is itself refused."""
        context.set_default_timeout(BROWSER_MS)
        context.add_init_script(_HIDDEN)
        context.on("request", self._check_host)
        context.on("console", self._check_message)
        context.on("weberror", lambda error: self.faults.append(f"uncaught: {error.error}"))

    def enter(self) -> None:
        """Gives the profile access with a one-time link, and leaves nothing else in it."""
        answer = self.context.request.get(self.link(), max_redirects=0)
        assert answer.status == 303, answer.text()

    def link(self) -> str:
        return f"{self.web.base}/enter?code={web_access.new_link(self.web.state)}"

    def open(self, path: str = "/") -> Page:
        """A new tab."""
        page = self.context.new_page()
        page.goto(self.web.base + path)
        return page

    def _check_host(self, request: Request) -> None:
        address = urlsplit(request.url)
        if address.scheme not in ("data", "blob") and address.netloc != urlsplit(self.web.base).netloc:
            self.faults.append(f"asks a foreign host: {request.url}")

    def _check_message(self, message: ConsoleMessage) -> None:
        missed = self.may_miss_answers and message.text.startswith(_NOT_LOADED)
        if message.type == "error" and not missed:
            self.faults.append(f"console: {message.text} ({message.location['url']})")


@contextmanager
def visiting(browser: Browser, web: RunningWeb, size: tuple[int, int] = DESKTOP, **options: Any) -> Iterator[Visit]:
    """A fresh profile with access. `options`: those of Playwright's contexts."""
    width, height = size
    context = browser.new_context(viewport={"width": width, "height": height}, **options)
    try:
        visit = Visit(context, web)
        visit.enter()
        yield visit
    finally:
        context.close()
    assert not visit.faults, "\n".join(visit.faults)


def hide(page: Page) -> None:
    """Shows another tab."""
    page.evaluate(_TURN, True)


def show(page: Page) -> None:
    """Shows this tab again."""
    page.evaluate(_TURN, False)


def is_too_wide(page: Page) -> bool:
    """Whether the page scrolls sideways."""
    wide = page.evaluate("document.documentElement.scrollWidth > document.documentElement.clientWidth")
    assert isinstance(wide, bool)
    return wide


def wait_for(page: Page, script: str) -> None:
    """Waits until the script gives something true. Playwright's own wait is a break of the page's policy, since it
    evaluates its script again and again from inside."""
    until(lambda: page.evaluate(script), what=script, deadline_seconds=BROWSER_MS / 1000)
