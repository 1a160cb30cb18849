# SPDX-License-Identifier: Apache-2.0
"""What all tests share: the test bench as fixtures, and the rule that nothing is skipped where CI looks.

Imported by both environments (the trainer's tests lie below this folder), so only pytest and the standard library.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import TypeVar

import pytest

from tests import promises
from tests.harness.booted_machine import BootedMachine
from tests.harness.namespace import need_root
from tests.harness.user_manager import UserManager

R = TypeVar("R", pytest.TestReport, pytest.CollectReport)

ROOT = Path(__file__).resolve().parent.parent


def pytest_configure(config: pytest.Config) -> None:
    # SIGTERM like ^C, so that the fixtures take down what they have started.
    signal.signal(signal.SIGTERM, signal.default_int_handler)


def pytest_itemcollected(item: pytest.Item) -> None:
    """`-k promise_1_` runs all tests of promise 1, those named after several promises too."""
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
    """With CI=true a skipped test is a failed one: what is not tested there is not tested anywhere."""
    if os.environ.get("CI") == "true" and report.skipped and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"{report.nodeid} was skipped, and with CI=true nothing may be: {report.longrepr}"
    return report


@pytest.fixture
def checkout() -> Path:
    """The root of the checkout."""
    return ROOT


@pytest.fixture
def user_manager() -> Iterator[UserManager]:
    """A real `systemd --user` with its bus, of this test alone."""
    _needs_root()
    with UserManager() as manager:
        yield manager


@pytest.fixture
def booted_machine() -> Iterator[BootedMachine]:
    """A whole booted Debian, of this test alone."""
    _needs_root()
    with BootedMachine() as machine:
        yield machine


def _needs_root() -> None:
    try:
        need_root()
    except PermissionError as error:
        pytest.fail(str(error), pytrace=False)
