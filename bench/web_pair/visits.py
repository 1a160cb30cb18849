# SPDX-License-Identifier: Apache-2.0
"""What a browser sees of a server: first paint, a log that grows, a network that is gone, many points.

Our page's streams are read by a script in our page, from the same server and with the same stream as the page's own.
"""

import os
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from playwright.sync_api import Browser, BrowserContext, Error, Page, Playwright

from bench.web_pair.network import Network
from bench.web_pair.servers import Server
from tests.harness.waiting import until

CHROMIUM = "/usr/bin/chromium"
DEADLINE_MS = 120_000.0

# Keeps in `window.seen` how many lines have arrived, how many are missing or came twice, and how old the newest is.
WATCH_LINES = """
window.seen = {last: null, at: 0, count: 0, lost: 0, twice: 0, ages: [], blocked: 0};
window.take = (lines) => {
  for (const line of lines) {
    const found = /^(\\d{8}) (\\d+\\.\\d+) .*it\\/s$/.exec(line);
    if (found === null) continue;
    const number = Number(found[1]);
    if (seen.last === null || number > seen.last) {
      if (seen.last !== null) seen.lost += number - seen.last - 1;
      seen.last = number; seen.at = Number(found[2]) * 1000; seen.count++;
    } else if (window.each) seen.twice++;
  }
};
setInterval(() => seen.at && seen.ages.push(Date.now() - seen.at), 100);
new PerformanceObserver((list) => {
  for (const task of list.getEntries()) seen.blocked += task.duration;
}).observe({entryTypes: ["longtask"]});
"""
OUR_LINES = """(job) => {
  window.each = true;
  let rest = "";
  new EventSource(`/api/v1/live?log=${job}&offset=-1`).addEventListener("log", (event) => {
    const lines = (rest + JSON.parse(event.data).text).split("\\n");
    rest = lines.pop();
    take(lines);
  });
}"""
GRADIO_LINES = """() => setInterval(() => {
  const shown = document.querySelector("#log textarea");
  if (shown !== null) take(shown.value.split("\\n"));
}, 50)"""
OUR_POINTS = """([job, last]) => new Promise((done) => {
  let bytes = 0, points = 0;
  const source = new EventSource(`/api/v1/live?metrics=${job}&points=2000`);
  source.addEventListener("metrics", (event) => {
    const {metrics} = JSON.parse(event.data);
    bytes += event.data.length; points += metrics.step.length;
    if (metrics.step.at(-1) !== last) return;
    source.close();
    done({bytes, points});
  });
})"""


def launch(playwright: Playwright) -> Browser:
    arguments = ["--no-sandbox"] if os.geteuid() == 0 else []  # Chromium refuses to start as root with it
    return playwright.chromium.launch(executable_path=CHROMIUM, args=arguments, timeout=DEADLINE_MS)


@contextmanager
def profile(browser: Browser, server: Server, port: int | None = None) -> Iterator[BrowserContext]:
    """A fresh profile with access to the server. The page itself has not been loaded in it."""
    context = browser.new_context()
    context.set_default_timeout(DEADLINE_MS)
    if server.web is not None:
        context.request.get(server.entrance(port or server.port), max_redirects=0)
    try:
        yield context
    finally:
        context.close()


def opened(context: BrowserContext, server: Server, port: int | None = None) -> Page:
    page = context.new_page()
    page.goto(f"http://127.0.0.1:{port or server.port}/", wait_until="commit")
    page.wait_for_selector(server.usable)
    return page


def load(browser: Browser, server: Server) -> dict[str, float]:
    """A first visit with nothing cached: milliseconds until something is shown and until the jobs are, and KB."""
    with profile(browser, server) as context:
        page = opened(context, server)
        usable = page.evaluate("performance.now()")
        paint = page.evaluate("performance.getEntriesByName('first-contentful-paint')[0].startTime")
        resources = page.evaluate("performance.getEntriesByType('resource').map((one) => one.transferSize)")
        return {"first_paint_ms": paint, "usable_ms": usable, "kb": sum(resources) / 1000}


def with_pages(browser: Browser, server: Server, count: int, seconds: float) -> dict[str, float]:
    """The server while `count` pages are open, each in its own profile."""
    with ExitStack() as stack:
        for _ in range(count):
            opened(stack.enter_context(profile(browser, server)), server)
        time.sleep(seconds)
        before = server.cpu_seconds()
        time.sleep(seconds)
        return {"memory_mb": server.memory(), "cpu_share": round((server.cpu_seconds() - before) / seconds, 3)}


def watch_lines(page: Page, server: Server, job: str) -> None:
    page.evaluate(WATCH_LINES)
    page.evaluate(OUR_LINES if server.web is not None else GRADIO_LINES, job)
    until(lambda: page.evaluate("seen.count > 0"), what="lines in the page")


def lines(browser: Browser, server: Server, job: str, seconds: float) -> dict[str, Any]:
    """How a page keeps up with a log that grows."""
    with profile(browser, server) as context:
        page = opened(context, server)
        watch_lines(page, server, job)
        page.evaluate("seen.count = seen.lost = seen.blocked = 0; seen.ages = []")
        before = server.cpu_seconds()
        time.sleep(seconds)
        cpu = server.cpu_seconds() - before
        seen = page.evaluate("seen")
    ages = sorted(seen["ages"])
    return {
        "newest_line_ms": ages[len(ages) // 2],
        "newest_line_ms_95": ages[len(ages) * 95 // 100],
        "arrived": seen["count"],
        "lost": seen["lost"],
        "twice": seen["twice"],
        "page_blocked_share": round(seen["blocked"] / 1000 / seconds, 3),
        "server_cpu_share": round(cpu / seconds, 3),
        "memory_mb": server.memory(),
    }


def offline(browser: Browser, server: Server, job: str, through: int, seconds: float) -> dict[str, Any]:
    """What a page misses of a log that grows while the network is gone."""
    with Network(through, server.port) as network, profile(browser, server, through) as context:
        page = opened(context, server, through)
        watch_lines(page, server, job)
        page.evaluate("seen.lost = 0")
        network.cut()
        time.sleep(seconds)
        last = page.evaluate("seen.last")
        network.mend()
        began = time.monotonic()
        reloaded = False

        def is_live() -> bool:
            nonlocal reloaded
            try:
                if page.evaluate("window.seen === undefined"):
                    reloaded = True
                    page.evaluate(WATCH_LINES)
                    page.evaluate("(last) => { seen.last = last; }", last)
                    page.evaluate(OUR_LINES if server.web is not None else GRADIO_LINES, job)
                return bool(page.evaluate("seen.at > Date.now() - 3000"))
            except Error:  # the page is being loaded
                return False

        until(is_live, what="the page to be live again")
        took = time.monotonic() - began
        seen = page.evaluate("seen")
        return {
            "live_after_seconds": round(took, 1),
            "reloaded": reloaded,
            "lost": seen["lost"],
            "twice": seen["twice"],
        }


def points(browser: Browser, server: Server, job: str, count: int) -> dict[str, Any]:
    """The seconds from a first visit until all measurements of a job are in the page (ours) or drawn (Gradio's)."""
    with profile(browser, server) as context:
        began = time.monotonic()
        found: dict[str, Any] = {}
        try:
            page = opened(context, server)
            if server.web is not None:
                found = page.evaluate(OUR_POINTS, [job, count])
            else:
                page.wait_for_selector("#plot canvas, #plot svg.marks")
        except Error:
            return {"seconds": None, "gave_up_after_seconds": DEADLINE_MS / 1000, "memory_mb": server.memory()}
        return {"seconds": round(time.monotonic() - began, 2), **found, "memory_mb": server.memory()}
