# SPDX-License-Identifier: Apache-2.0
"""The final file counts if it is there, whole, and not what lay there before."""

import os
from pathlib import Path

import pytest

from fluxgymd.store import result
from tests.store.files import LORA


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "my-lora.safetensors"


def test_a_file_that_was_not_there_before_is_the_result(path: Path) -> None:
    before = result.stamp(path)
    assert before is None
    path.write_bytes(LORA)
    assert result.problem(path, before) is None


def test_a_missing_file_is_missing(path: Path) -> None:
    assert result.problem(path, None) == "its final file my-lora.safetensors is missing"


def test_the_file_of_an_earlier_attempt_is_not_the_result(path: Path) -> None:
    path.write_bytes(LORA)
    assert result.problem(path, result.stamp(path)) == "my-lora.safetensors is the file of an earlier attempt"


def test_an_equal_file_that_was_written_anew_is_the_result(path: Path) -> None:
    path.write_bytes(LORA)
    before = result.stamp(path)
    fresh = path.with_name("fresh")
    fresh.write_bytes(LORA)
    facts = path.stat()
    os.utime(fresh, ns=(facts.st_atime_ns, facts.st_mtime_ns))
    fresh.rename(path)
    assert result.problem(path, before) is None


@pytest.mark.parametrize("change", ["size", "time"])
def test_a_file_that_was_changed_in_place_is_the_result(path: Path, change: str) -> None:
    path.write_bytes(LORA[:-2] if change == "size" else LORA)
    os.utime(path, ns=(5, 5))
    before = result.stamp(path)
    path.write_bytes(LORA)
    os.utime(path, ns=(5, 5 if change == "size" else 6))
    assert result.problem(path, before) is None


def test_a_torn_file_is_not_the_result(path: Path) -> None:
    path.write_bytes(LORA[:-1])
    assert result.problem(path, None) == (
        f"its final file is torn: my-lora.safetensors has {len(LORA) - 1} bytes, but its header tells of {len(LORA)}"
    )
