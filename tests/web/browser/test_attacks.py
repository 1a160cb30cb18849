# SPDX-License-Identifier: Apache-2.0
"""Only a link lets a browser in, and another site that is open in it can neither read nor change anything."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from playwright.sync_api import Browser, Page, expect

from fluxgym.protocol.messages import State
from tests.daemon.running import program
from tests.harness.waiting import join
from tests.web.browser.browsing import EVIL, Served, Visit, visiting

REMOVE = "/api/v1/org.fluxgym.Jobs.Remove"
ASK = """async ([address, options]) => {
    try {
        const answer = await fetch(address, options);
        return answer.type === "opaque" ? "opaque" : answer.status;
    } catch { return "refused"; }
}"""


class OtherSite(BaseHTTPRequestHandler):
    """Answers every address with an empty page."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write(b"<!doctype html><title>evil</title><link rel=icon href=data:,>")

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def evil() -> Iterator[int]:
    """The port of another site."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), OtherSite)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server.server_port
    server.shutdown()
    server.server_close()
    join(thread)


def test_a_link_lets_a_browser_in_and_leaves_no_code_in_the_address(chromium: Browser, served: Served) -> None:
    with visiting(chromium, served[1]) as visit:
        visit.may_miss_answers = True
        visit.context.clear_cookies()
        page = visit.open()
        expect(page.get_by_text("This browser has no access yet.")).to_be_visible()
        page.goto(visit.link())
        expect(page).to_have_url(f"{visit.web.base}/")
        expect(page.get_by_role("main")).to_be_visible()


@contextmanager
def attacking(chromium: Browser, served: Served, host: str, port: int, *, bypass_csp: bool = False) -> Iterator[Page]:
    """A page of another site, beside our own page in the same profile. No rule of `Visit` holds for it."""
    context = chromium.new_context(bypass_csp=bypass_csp)
    try:
        visit = Visit(context, served[1])
        visit.enter()
        visit.open()
        page = context.new_page()
        page.goto(f"http://{host}:{port}/")
        yield page
    finally:
        context.close()


OPTIONS: list[dict[str, object]] = [
    {"method": "POST", "mode": "no-cors", "body": '{"name": "kept"}'},
    {"method": "POST", "headers": {"X-Fluxgym": "1"}, "body": '{"name": "kept"}'},
    {"mode": "no-cors"},
    {},
]


@pytest.mark.parametrize("host", ["127.0.0.1", EVIL])
def test_a_script_of_another_site_reads_and_changes_nothing(
    chromium: Browser, served: Served, evil: int, host: str
) -> None:
    daemon, web = served
    keep_a_job(served)
    with attacking(chromium, served, host, evil) as page:
        for options in OPTIONS:
            for path in (REMOVE, "/api/v1/summary"):
                told = page.evaluate(ASK, [web.base + path, {"credentials": "include", **options}])
                assert told == "refused", (path, options)
        assert page.context.pages[0].evaluate(ASK, ["/api/v1/summary", {}]) == 200
    assert daemon.job("kept").runtime.state is State.COMPLETED


@pytest.mark.parametrize("host", ["127.0.0.1", EVIL])
def test_a_form_and_an_image_of_another_site_change_nothing(
    chromium: Browser, served: Served, evil: int, host: str
) -> None:
    daemon, web = served
    keep_a_job(served)
    with attacking(chromium, served, host, evil) as page:
        loaded = page.evaluate(
            """(address) => new Promise((done) => {
                const image = new Image();
                image.onload = () => done(true);
                image.onerror = () => done(false);
                image.src = address;
            })""",
            f"{web.base}/favicon.ico",
        )
        assert loaded is False
        with page.expect_navigation() as sent:
            page.evaluate(
                """(address) => {
                    const form = document.createElement("form");
                    Object.assign(form, {method: "post", action: address, enctype: "text/plain"});
                    form.append(Object.assign(document.createElement("input"), {
                        name: '{"name": "kept", "now": true, "x": "', value: '"}'}));
                    document.body.append(form);
                    form.submit();
                }""",
                web.base + REMOVE,
            )
        assert sent.value is not None
        assert sent.value.status == 403
    assert daemon.job("kept").runtime.state is State.COMPLETED


def test_a_name_that_another_site_leads_here_is_refused(chromium: Browser, served: Served) -> None:
    web = served[1]
    # The other site's own page, which was there before its name led here, has no policy.
    with attacking(chromium, served, EVIL, web.port, bypass_csp=True) as page:
        assert "Host does not name this server" in page.inner_text("body")
        # The page and the server have the same origin now, so only the name of the host is left to tell.
        for path, options in (
            ("/", {}),
            ("/api/v1/summary", {}),
            (REMOVE, {"method": "POST", "headers": {"X-Fluxgym": "1"}, "body": '{"name": "kept"}'}),
        ):
            assert page.evaluate(ASK, [path, options]) == 421, path


def test_another_site_cannot_show_our_page_inside_its_own(chromium: Browser, served: Served, evil: int) -> None:
    web = served[1]
    with attacking(chromium, served, EVIL, evil) as page:
        page.evaluate(
            """(address) => new Promise((done) => {
                const frame = document.createElement("iframe");
                frame.onload = done;
                frame.src = address;
                document.body.append(frame);
            })""",
            web.base,
        )
        assert all(web.base not in frame.url or not frame.locator("#page").count() for frame in page.frames)


@pytest.mark.parametrize(
    "path", ["/assets/..%2f..%2fapp.py", "/api/v1/files/kept/..%2f..%2f..%2fowner.json", "/assets/%2e%2e%5capp.py"]
)
def test_no_address_in_our_own_page_leads_out_of_its_folders(served: Served, visit: Visit, path: str) -> None:
    keep_a_job(served)
    visit.may_miss_answers = True
    assert visit.open().evaluate(ASK, [path, {}]) in (400, 404)


def keep_a_job(served: Served) -> None:
    """Makes a job that an attack would remove."""
    daemon = served[0]
    if not daemon.jobs():
        daemon.submit(program("kept"))
    daemon.wait("kept", State.COMPLETED)
