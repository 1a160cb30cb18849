# SPDX-License-Identifier: Apache-2.0
"""Fixtures of the test bench for all tests, and the rule that CI skips nothing.

Both environments import this file, since the trainer's tests are below this folder. So it needs only pytest and the
standard library.
"""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import TypeVar

import pytest

from tests import promises
from tests.harness import install_packages
from tests.harness.booted_machine import BootedMachine
from tests.harness.namespace import need_root
from tests.harness.user_manager import UserManager

R = TypeVar("R", pytest.TestReport, pytest.CollectReport)

ROOT = Path(__file__).resolve().parent.parent


def pytest_configure(config: pytest.Config) -> None:
    # Treat SIGTERM like ^C, so that the fixtures stop everything that they have started.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    # A shell starts a background job, such as a suite of `./dev test`, with the first two signals ignored, and nohup
    # ignores the third. This process continues to ignore them, but the programs that tests start must not. A child
    # inherits SIG_IGN but no handler.
    for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, lambda *_: None)


def pytest_itemcollected(item: pytest.Item) -> None:
    """Makes `-k promise_1_` run all tests of promise 1, including those named after several promises."""
    item.extra_keyword_matches.update(f"promise_{number}_" for number in promises.named(item.name))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    return refuse_skip(report)


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    report = yield
    return refuse_skip(report)


def refuse_skip(report: R) -> R:
    """Turns a skipped test into a failed one if CI=true: a test that CI skips may never run anywhere."""
    if os.environ.get("CI") == "true" and report.skipped and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"{report.nodeid} was skipped, and with CI=true nothing may be: {report.longrepr}"
    return report


@pytest.fixture(scope="session")
def checkout() -> Path:
    """The root of the checkout."""
    return ROOT


@pytest.fixture(scope="session")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the packages that `./dev install` takes from the index, for a machine without a network."""
    folder = tmp_path_factory.mktemp("packages")
    install_packages.make(ROOT, folder)
    return folder


@pytest.fixture
def folder() -> Iterator[Path]:
    """A temporary folder with a short path, since the length of a socket's path is limited."""
    path = Path(tempfile.mkdtemp(prefix="fg-"))
    yield path
    shutil.rmtree(path)


@pytest.fixture
def user_manager() -> Iterator[UserManager]:
    """A real `systemd --user` with its bus, for this test alone."""
    _needs_root()
    with UserManager() as manager:
        yield manager


@pytest.fixture
def booted_machine() -> Iterator[BootedMachine]:
    """A complete Debian system that has booted, for this test alone."""
    _needs_root()
    with BootedMachine() as machine:
        yield machine


def _needs_root() -> None:
    try:
        need_root()
    except PermissionError as error:
        pytest.fail(str(error), pytrace=False)
