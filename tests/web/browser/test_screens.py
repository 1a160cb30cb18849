# SPDX-License-Identifier: Apache-2.0
"""axe finds nothing on any screen in any state, light and dark, wide and narrow, and none scrolls sideways."""

from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page

from build_page import Page as PageBuild
from tests.web.browser.browsing import Served, Visit, is_too_wide
from tests.web.browser.screens import walk

# Rules that are no rules of WCAG, but good practice, are checked too.
RUN = "async () => (await axe.run(document, {resultTypes: ['violations']})).violations"


@pytest.fixture(scope="module")
def axe(checkout: Path) -> str:
    """The script of axe-core, which belongs to the page's development tools."""
    build = PageBuild(checkout)
    build.install_tools()
    return (build.ui / "node_modules" / "axe-core" / "axe.min.js").read_text(encoding="utf-8")


def violations(page: Page, axe: str) -> list[str]:
    page.evaluate(f"() => {{ if (!window.axe) {{ {axe} }} }}")
    found: list[dict[str, Any]] = page.evaluate(RUN)
    return [f"{one['id']}: {one['help']}: {node['html'][:120]}" for one in found for node in one["nodes"]]


def test_axe_finds_nothing_on_any_screen_and_none_scrolls_sideways(
    served: Served, visit: Visit, model: Path, axe: str
) -> None:
    visit.may_miss_answers = True
    found = []
    for name, page in walk(served[0], visit, model):
        found += [f"{name}: {fault}" for fault in violations(page, axe)]
        if is_too_wide(page):
            found.append(f"{name}: scrolls sideways")
    assert found == []


def test_axe_would_find_something(visit: Visit, axe: str) -> None:
    page = visit.open()
    page.evaluate("document.querySelector('main').innerHTML = '<img src=\"data:,\"><button></button>'")
    assert {fault.partition(":")[0] for fault in violations(page, axe)} >= {"image-alt", "button-name"}
