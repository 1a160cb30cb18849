# SPDX-License-Identifier: Apache-2.0
"""The Jobs screen, as somebody uses it: find jobs among many, remove them and get them back, by pointer, keyboard or
phone, and see what happened overnight."""

import re
import time

import pytest
from playwright.sync_api import Browser, Page, expect

from fluxgym.protocol import methods as m
from fluxgym.protocol.messages import State
from tests.daemon.running import RunningDaemon, program
from tests.web.browser.browsing import PHONE, Served, Visit, is_too_wide, visiting, wait_for


def rows(page: Page) -> list[str]:
    """The names in the table, from the top."""
    return page.locator("tbody th > a").all_inner_texts()


def button(page: Page, words: str | re.Pattern[str]) -> None:
    page.get_by_role("button", name=words, exact=isinstance(words, str)).click()


@pytest.fixture(scope="module")
def thirty(served: Served) -> RunningDaemon:
    """A daemon with 30 jobs that are held: every third is tagged `cat`, every fifth is of the group `animals`."""
    daemon = served[0]
    for number in range(30):
        name = f"job-{number:02}"
        daemon.submit(program(name, held=True))
        tags = ["cat"] if number % 3 == 0 else None
        group = "animals" if number % 5 == 0 else None
        daemon.call(m.ANNOTATE, m.AnnotateParameters(name=name, group=group, tags=tags))
    return daemon


def test_thirty_jobs_are_filtered_stopped_removed_and_restored(thirty: RunningDaemon, visit: Visit) -> None:
    page = visit.open()
    expect(page.locator("tbody tr")).to_have_count(30)
    page.get_by_role("group", name="Tags").get_by_role("button").click()
    page.get_by_role("combobox", name="Group").select_option("animals")
    expect(page.locator("tbody tr")).to_have_count(2)
    assert rows(page) == ["job-00", "job-15"]
    assert "?tag=cat&group=animals" in page.url
    page.reload()
    expect(page.locator("tbody tr")).to_have_count(2)

    page.get_by_label("Select all shown jobs").check()
    button(page, "Stop")
    page.get_by_role("dialog").get_by_role("button", name="Stop").click()
    expect(page.get_by_text("Stopped", exact=True)).to_have_count(2)
    page.get_by_label("Select all shown jobs").check()
    button(page, "Remove")
    expect(page.get_by_text("2 jobs removed.").filter(visible=True)).to_have_count(2)  # and for a screen reader
    assert "job-15" not in {job.context.name for job in thirty.jobs()}
    button(page, "Undo")
    expect(page.locator("tbody tr")).to_have_count(2)
    assert {job.context.name for job in thirty.jobs()} == {f"job-{number:02}" for number in range(30)}
    button(page, "Clear filter")
    expect(page.locator("tbody tr")).to_have_count(30)
    page.go_back()
    expect(page.locator("tbody tr")).to_have_count(2)


def test_everything_is_done_with_the_keyboard_alone(thirty: RunningDaemon, visit: Visit) -> None:
    page = visit.open()
    expect(page.locator("tbody tr")).to_have_count(30)
    keys = page.keyboard
    keys.press("Tab")
    expect(page.get_by_role("link", name="Skip to main content")).to_be_focused()
    keys.press("/")
    expect(page.get_by_role("searchbox")).to_be_focused()
    keys.type("job-07")
    expect(page.locator("tbody tr")).to_have_count(1)

    tab_to(page, "Select job-07")
    keys.press("Space")
    tab_to(page, "Release")
    keys.press("Enter")
    thirty.wait("job-07", State.COMPLETED)
    expect(page.get_by_text("Completed", exact=True)).to_be_visible()
    tab_to(page, "Undo", "Close")  # the notice of the release has none to undo
    tab_to(page, "Select job-07")
    keys.press("Space")
    tab_to(page, "Remove")
    keys.press("Enter")
    expect(page.get_by_text("No job matches this filter.")).to_be_visible()
    tab_to(page, "Undo")
    keys.press("Enter")
    expect(page.locator("tbody tr")).to_have_count(1)

    keys.press("?")
    expect(page.get_by_role("dialog")).to_be_visible()
    keys.press("Escape")
    expect(page.get_by_role("dialog")).to_have_count(0)


def tab_to(page: Page, *words: str) -> None:
    """Presses Tab until something of this name has the focus, which has to be seen."""
    told = "document.activeElement.ariaLabel ?? document.activeElement.innerText"
    outline = "getComputedStyle(document.activeElement).outlineStyle !== 'none'"
    seen = []
    for _ in range(60):
        page.keyboard.press("Tab")
        seen.append(page.evaluate(told))
        if seen[-1] in words:
            assert page.evaluate(outline), f"the focus of {seen[-1]} cannot be seen"
            return
    raise AssertionError(f"Tab never came to {words}, but to {seen}")


def test_a_phone_shows_all_without_scrolling_sideways(
    thirty: RunningDaemon, chromium: Browser, served: Served
) -> None:
    with visiting(chromium, served[1], PHONE, has_touch=True, is_mobile=True) as visit:
        page = visit.open()
        expect(page.locator("tbody tr")).to_have_count(30)
        assert not is_too_wide(page)
        page.get_by_label("Select job-03").tap()
        expect(page.get_by_text("1 selected")).to_be_visible()
        assert not is_too_wide(page)
        page.get_by_role("link", name="job-03").scroll_into_view_if_needed()
        for control in page.get_by_role("button").filter(visible=True).all():
            box = control.bounding_box()
            assert box is not None
            assert box["height"] >= 24, control.inner_text()  # WCAG 2.2, 2.5.8


def test_the_next_morning_says_what_happened_overnight(thirty: RunningDaemon, served: Served, visit: Visit) -> None:
    go = thirty.home / "go"
    for name, end in (("night-good", "echo '{\"files\": []}' >result.json"), ("night-bad", "exit 3")):
        thirty.submit(program(name, f"while [ ! -e {go} ]; do sleep 0.1; done; {end}"))
        thirty.wait(name, State.RUNNING)
    page = visit.open()
    expect(page.get_by_role("link", name="night-good")).to_be_visible()
    wait_for(page, "localStorage['fluxgym.seen']")
    page.close()

    go.touch()
    thirty.wait("night-good", State.COMPLETED)
    thirty.wait("night-bad", State.FAILED)
    visit.context.clock.set_system_time(time.time() + 9 * 3600)
    page = visit.open()
    summary = page.get_by_role("region", name=re.compile("While you were away"))
    expect(summary).to_contain_text("9 h")
    expect(summary).to_contain_text("1 completed")
    expect(summary.get_by_role("listitem").get_by_role("link", name="night-bad")).to_be_visible()
    expect(summary.get_by_role("listitem")).to_have_count(1)
    summary.get_by_role("button").click()
    expect(summary).to_have_count(0)
    page.reload()
    expect(page.get_by_role("link", name="night-good")).to_be_visible()
    expect(summary).to_have_count(0)
