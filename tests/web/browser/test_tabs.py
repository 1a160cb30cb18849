# SPDX-License-Identifier: Apache-2.0
"""Eight tabs: a browser has six connections for all of them, and each tab is live when it is shown."""

from playwright.sync_api import Page, expect

from fluxgym.protocol.messages import State
from tests.daemon.running import program
from tests.web.browser.browsing import Served, Visit

# A headless browser says of every tab that it is visible, so the tab is told what a real one would see.
HIDDEN = """Object.defineProperty(document, "hidden", {get: () => !window.isShown});
    addEventListener("load", () => document.dispatchEvent(new Event("visibilitychange")));"""
TABS = 8


def turn(page: Page, *, shown: bool) -> None:
    page.evaluate(
        "(shown) => { window.isShown = shown; document.dispatchEvent(new Event('visibilitychange')); }", shown
    )


def test_each_of_eight_tabs_is_live_when_it_is_shown(served: Served, visit: Visit) -> None:
    daemon = served[0]
    daemon.submit(program("first"))
    visit.context.add_init_script(HIDDEN)
    tabs = []
    for _ in range(TABS):
        tabs.append(visit.open())
        turn(tabs[-1], shown=True)
        expect(tabs[-1].get_by_role("link", name="first")).to_be_visible()
        turn(tabs[-1], shown=False)
    for number, tab in enumerate(tabs):
        name = f"job-{number}"
        turn(tab, shown=True)
        daemon.submit(program(name))
        daemon.wait(name, State.COMPLETED)
        expect(tab.get_by_role("row", name=name)).to_contain_text("Completed")
        turn(tab, shown=False)
