# SPDX-License-Identifier: Apache-2.0
"""The web page's own checks: its types, its tests, and its budgets."""

from __future__ import annotations

import gzip
import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from build_page import Page
from tests.harness.waiting import BUILD_SECONDS

TSC = "node_modules/typescript/bin/tsc"


@pytest.fixture(scope="module")
def page(checkout: Path) -> Page:
    """The page of this checkout, with the tools of its developers."""
    page = Page(checkout)
    page.install_tools()
    page.write_types()
    return page


def run(page: Page, *arguments: str) -> tuple[int, str]:
    """Runs Node in the page's folder. Returns its exit status and what it printed."""
    ran = subprocess.run([page.node, *arguments], cwd=page.ui, capture_output=True, text=True, timeout=BUILD_SECONDS)
    return ran.returncode, ran.stdout + ran.stderr


def test_the_types_of_the_page_are_right(page: Page) -> None:
    assert run(page, TSC, "--noEmit") == (0, "")


def test_a_page_that_uses_a_field_that_the_daemon_does_not_have_does_not_compile(page: Page, tmp_path: Path) -> None:
    other = Page(tmp_path)
    shutil.copytree(page.ui, other.ui, ignore=shutil.ignore_patterns("node_modules", "generated"))
    (other.ui / "node_modules").symlink_to(page.ui / "node_modules")
    interfaces = tmp_path / "fluxgym" / "interfaces"
    shutil.copytree(page.root / "fluxgym" / "interfaces", interfaces)
    other.write_types()
    assert run(other, TSC, "--noEmit") == (0, "")

    jobs = interfaces / "org.fluxgym.Jobs.varlink"
    jobs.write_text(jobs.read_text().replace("remainingSeconds: ?float", "secondsLeft: ?float"))
    other.write_types()
    status, told = run(other, TSC, "--noEmit")
    assert status != 0
    assert "Property 'remainingSeconds' does not exist" in told


def test_the_tests_of_the_page_pass(page: Page) -> None:
    status, told = run(page, "--test", "test/*.test.ts")
    assert status == 0, told


def test_the_page_is_as_small_as_promised(page: Page) -> None:
    if not page.is_fresh():
        page.build()
    scripts = [path.read_bytes() for path in (page.static / "assets").glob("*.js")]
    (theme,), (style,) = (
        re.findall(f"<{kind}>(.*?)</{kind}>", (page.static / "index.html").read_text(), re.DOTALL)
        for kind in ("script", "style")
    )
    assert sum(len(gzip.compress(script, mtime=0)) for script in [*scripts, theme.encode()]) <= 70_000
    assert len(gzip.compress(style.encode(), mtime=0)) <= 12_000


def test_the_sources_of_the_page_are_as_short_as_promised(page: Page) -> None:
    lines = {
        path.relative_to(page.ui): len(path.read_text().splitlines())
        for path in page.sources()
        if path.suffix in (".ts", ".tsx", ".css", ".html")
    }
    assert sum(count for path, count in lines.items() if path.suffix == ".tsx") <= 5_000
    assert sum(count for path, count in lines.items() if path.suffix == ".css") <= 800
    assert {path: count for path, count in lines.items() if count > 350} == {}


def test_six_packages_build_the_page(page: Page) -> None:
    locked = json.loads((page.ui / "package-lock.json").read_text())["packages"]
    # esbuild is one program for each kind of machine, of which one is installed.
    built = {name for name, about in locked.items() if name and not about.get("dev") and "cpu" not in about}
    assert len(built) + 1 <= 6
    assert all("integrity" in about for name, about in locked.items() if name)


SAID = re.compile(r">[^<>{}=;()]*[A-Za-z]{2}[^<>{}=;()]*</|\b(?:aria-label|title|placeholder|alt)=\"[^\"]*[A-Za-z]")
"""Text between tags, and attributes that people read."""


def test_all_text_of_the_page_is_in_one_place(page: Page) -> None:
    said = [(path.name, found) for path in page.ui.glob("src/**/*.tsx") for found in SAID.findall(path.read_text())]
    assert said == []


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("<p>Hello there</p>", True),
        ('<b title="Hello">{x}</b>', True),
        ("<p>{text.hello}</p>", False),
        ("<p>{age} · {size}</p>", False),
    ],
)
def test_words_outside_of_that_file_are_found(source: str, says: bool) -> None:
    assert bool(SAID.findall(source)) is says
