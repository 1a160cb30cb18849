# SPDX-License-Identifier: Apache-2.0
"""Checks that the README numbers all ten promises, and that each has tests named after it."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.harness.waiting import DEADLINE_SECONDS
from tests.promises import named, table

NUMBERS = range(1, 11)


def promises(checkout: Path) -> dict[int, str]:
    """Returns the numbered promises of the README."""
    text = (checkout / "README.md").read_text(encoding="utf-8")
    section = text.split("\n## The promises\n")[1].split("\n## ")[0]
    return {int(number): words for number, words in re.findall(r"(?ms)^(\d+)\. (.*?)(?=^\d+\. |\Z)", section)}


def test_the_readme_makes_the_ten_promises_by_number(checkout: Path) -> None:
    assert list(promises(checkout)) == list(NUMBERS)


@pytest.mark.parametrize("number", NUMBERS)
def test_each_promise_has_tests_named_after_it(number: int) -> None:
    assert table().get(number), f"no test is named test_promise_{number}_..."


def test_no_test_is_named_after_a_promise_that_is_not_made() -> None:
    assert set(table()) <= set(NUMBERS)


@pytest.mark.parametrize(
    ("name", "numbers"),
    [
        ("test_promise_4_two_jobs_get_two_gpus", {4}),
        ("test_promise_10_a_client", {10}),
        ("test_promise_1_3_daemons_later", {1}),
        ("test_promises_2_and_3_a_full_disk", {2, 3}),
        ("test_promises_1_to_5_and_8_the_daemon", {1, 2, 3, 4, 5, 8}),
        ("test_promises_2_4_and_5_the_shim", {2, 4, 5}),
        ("test_each_promise_has_tests", set()),
        ("test_a_promise_4_is_kept", set()),
    ],
)
def test_the_numbers_are_read_from_the_name(name: str, numbers: set[int]) -> None:
    assert named(name) == numbers


def test_the_tests_of_one_promise_can_be_run(checkout: Path) -> None:
    """`-k promise_3_` runs the tests of promise 3, including those named after several promises, and no others."""
    files = ["tests/crash/test_disk.py", "tests/gpus/test_machine.py"]
    command = [sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider", "-k", "promise_3_"]
    done = subprocess.run([*command, *files], cwd=checkout, capture_output=True, text=True, timeout=DEADLINE_SECONDS)
    assert "test_promises_2_and_3_" in done.stdout, done.stdout + done.stderr
    found = set(re.findall(r"::(test_\w+)", done.stdout))
    assert {3} <= set.intersection(*(named(name) for name in found))
