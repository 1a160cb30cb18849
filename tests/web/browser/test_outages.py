# SPDX-License-Identifier: Apache-2.0
"""An open page outlives the server, the daemon and the network, says which of them is away, and misses nothing."""

import pytest
from playwright.sync_api import Page, expect

from fluxgym.protocol.messages import State
from tests.daemon.running import RunningDaemon, program
from tests.web.browser.browsing import Served, Visit

SERVER_AWAY = "The web server does not answer."
DAEMON_AWAY = "Your trainings may still be running."


@pytest.fixture
def page(served: Served, visit: Visit) -> Page:
    """The Jobs screen, of which some requests fail in these tests."""
    visit.may_miss_answers = True
    page = visit.open()
    expect(page.get_by_role("main")).not_to_have_class("stale")
    return page


def submit_and_see(daemon: RunningDaemon, page: Page, name: str) -> None:
    daemon.submit(program(name))
    daemon.wait(name, State.COMPLETED)
    expect(page.get_by_role("row", name=name)).to_contain_text("Completed")


def bar(page: Page, words: str) -> None:
    """Waits for the bar at the top, below which everything is marked as old."""
    expect(page.get_by_role("alert")).to_contain_text(words)
    expect(page.get_by_role("main")).to_have_class("stale")


def test_a_page_continues_after_a_crash_of_the_server(served: Served, page: Page) -> None:
    daemon, web = served
    submit_and_see(daemon, page, "before-server")
    web.kill()
    bar(page, SERVER_AWAY)
    daemon.submit(program("meanwhile-server"))
    web.start()
    expect(page.get_by_role("alert")).to_have_count(0)
    expect(page.get_by_role("row", name="meanwhile-server")).to_contain_text("Completed")
    submit_and_see(daemon, page, "after-server")


def test_a_page_continues_after_a_crash_of_the_daemon(served: Served, page: Page) -> None:
    daemon = served[0]
    go = daemon.home / "go"
    script = f"while [ ! -e {go} ]; do sleep 0.1; done; echo '{{\"files\": []}}' >result.json"
    daemon.submit(program("through-daemon", script))
    daemon.wait("through-daemon", State.RUNNING)
    expect(page.get_by_role("row", name="through-daemon")).to_contain_text("Running")
    daemon.kill()
    bar(page, DAEMON_AWAY)
    go.touch()
    daemon.start()
    expect(page.get_by_role("alert")).to_have_count(0)
    expect(page.get_by_role("row", name="through-daemon")).to_contain_text("Completed")


def test_a_page_continues_after_the_network_was_away(served: Served, page: Page) -> None:
    daemon = served[0]
    page.context.set_offline(True)
    daemon.submit(program("meanwhile-network"))
    daemon.wait("meanwhile-network", State.COMPLETED)
    page.context.set_offline(False)
    expect(page.get_by_role("row", name="meanwhile-network")).to_contain_text("Completed")
    submit_and_see(daemon, page, "after-network")
