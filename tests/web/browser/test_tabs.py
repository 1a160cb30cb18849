# SPDX-License-Identifier: Apache-2.0
"""Eight tabs: a browser has six connections for all of them, and each tab is live when it is shown."""

from playwright.sync_api import expect

from fluxgym.protocol.messages import State
from tests.daemon.running import program
from tests.web.browser.browsing import Served, Visit, hide, show

TABS = 8


def test_each_of_eight_tabs_is_live_when_it_is_shown(served: Served, visit: Visit) -> None:
    daemon = served[0]
    daemon.submit(program("first"))
    tabs = []
    for _ in range(TABS):
        tabs.append(visit.open())
        expect(tabs[-1].get_by_role("link", name="first")).to_be_visible()
        hide(tabs[-1])
    for number, tab in enumerate(tabs):
        name = f"job-{number}"
        show(tab)
        daemon.submit(program(name))
        daemon.wait(name, State.COMPLETED)
        expect(tab.get_by_role("row", name=name)).to_contain_text("Completed")
        hide(tab)
