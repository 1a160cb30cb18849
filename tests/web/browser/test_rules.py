# SPDX-License-Identifier: Apache-2.0
"""What fails every test of the page fails."""

import pytest
from playwright.sync_api import Browser

from tests.web.browser.browsing import EVIL, Served, visiting
from tests.web.serving import RunningWeb


@pytest.mark.parametrize(
    ("script", "fault"),
    [
        (f"new Image().src = 'http://{EVIL}/x.png'", f"asks a foreign host: http://{EVIL}/x.png"),
        ("document.body.append(Object.assign(document.createElement('style'), {textContent: '*{}'}))", "console: "),
        ("console.error('wrong')", "console: wrong"),
        ("void setTimeout(() => { throw new Error('lost') })", "uncaught: "),
        ("void Promise.reject(new Error('lost'))", "uncaught: "),
        ("fetch('/api/v1/nothing')", "console: Failed to load resource: "),
    ],
)
def test_a_fault_in_the_page_fails_its_test(chromium: Browser, served: Served, script: str, fault: str) -> None:
    with pytest.raises(AssertionError, match=fault):
        visit_and_run(chromium, served[1], script)


def visit_and_run(chromium: Browser, web: RunningWeb, script: str) -> None:
    with visiting(chromium, web) as visit:
        page = visit.open()
        page.evaluate(script)
        page.evaluate("() => new Promise((done) => setTimeout(done))")
