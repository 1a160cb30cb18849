# SPDX-License-Identifier: Apache-2.0
"""One browser for all tests of the page, a daemon and a server for each file, and a profile for each test."""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, sync_playwright

from tests.daemon.running import RunningDaemon, make_model
from tests.web.browser.browsing import Served, Visit, launch, visiting
from tests.web.serving import RunningWeb


# Not for the whole run: while Playwright runs, no other test could run an event loop.
@pytest.fixture(scope="package")
def chromium() -> Iterator[Browser]:
    folder = Path(tempfile.mkdtemp(prefix="fg-"))
    with sync_playwright() as playwright:
        browser = launch(playwright, folder)
        yield browser
        browser.close()
    shutil.rmtree(folder)


@pytest.fixture(scope="package")
def model() -> Iterator[Path]:
    """A folder with the tiny model, and 8 pictures in `pictures/`."""
    folder = Path(tempfile.mkdtemp(prefix="fg-"))
    make_model(folder)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    """A daemon and its web server, for all tests of a file."""
    folder = Path(tempfile.mkdtemp(prefix="fg-"))
    with (
        RunningDaemon(folder, arguments=("--supervisor", "process")) as daemon,
        RunningWeb(folder, daemon.socket) as web,
    ):
        yield daemon, web
    shutil.rmtree(folder)


@pytest.fixture
def visit(chromium: Browser, served: Served) -> Iterator[Visit]:
    """A fresh profile with access to the file's server."""
    with visiting(chromium, served[1]) as visit:
        yield visit
