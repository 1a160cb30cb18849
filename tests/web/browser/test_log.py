# SPDX-License-Identifier: Apache-2.0
"""The log of a running job, over crashes of the server and of the daemon, a hidden tab, and a lost network."""

import re

from playwright.sync_api import Browser, Page, expect

from tests.daemon.running import RunningDaemon, program
from tests.harness.waiting import until
from tests.web.browser.browsing import Served, hide, show, visiting

COUNTS = """i=0; while [ ! -e {done} ]; do i=$((i+1)); echo line $i; sleep 0.05; done; echo end $i"""


def copied(page: Page) -> str:
    """All lines that the page has, by its own button, since it draws only the visible ones."""
    page.get_by_role("button", name="Copy", exact=True).click()
    text = page.evaluate("navigator.clipboard.readText()")
    assert isinstance(text, str)
    return text


def last_drawn(page: Page) -> int:
    lines = re.findall(r"line (\d+)", " ".join(page.locator(".rows .row").all_inner_texts()))
    return int(lines[-1]) if lines else 0


def wait_for_more(page: Page) -> None:
    """Waits until the page shows lines that it does not show yet."""
    seen = last_drawn(page)
    until(lambda: last_drawn(page) > seen, what=f"a line after {seen}")


def grow(daemon: RunningDaemon) -> None:
    """Waits for lines that the page does not get."""
    before = len(daemon.training_log("counts"))
    until(lambda: len(daemon.training_log("counts")) > before + 200, what="the log to grow")


def test_no_line_is_missing_or_twice_over_crashes_and_a_network_that_was_away(
    chromium: Browser, served: Served
) -> None:
    daemon, web = served
    done = daemon.home / "done"
    daemon.submit(program("counts", COUNTS.format(done=done)))
    with visiting(chromium, web, permissions=["clipboard-read", "clipboard-write"]) as visit:
        visit.may_miss_answers = True
        page = visit.open("/jobs/counts/log")
        wait_for_more(page)
        web.kill()
        expect(page.get_by_role("alert")).to_be_visible()
        web.start()
        wait_for_more(page)
        daemon.kill()
        expect(page.get_by_role("alert")).to_be_visible()
        daemon.start()
        wait_for_more(page)
        hide(page)
        grow(daemon)
        show(page)
        wait_for_more(page)
        visit.context.set_offline(True)
        grow(daemon)
        visit.context.set_offline(False)
        wait_for_more(page)
        done.touch()
        expect(page.locator(".rows").get_by_text(re.compile(r"end \d+"))).to_be_visible()
        found = re.findall(r"line (\d+)$", copied(page), re.MULTILINE)
    assert list(map(int, found)) == list(range(1, len(found) + 1))
    assert daemon.training_log("counts").count("line ") == len(found)
