# SPDX-License-Identifier: Apache-2.0
"""A result counts if it exists, is complete, and isn't what was there before: a final file, or what a program
declares."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from fluxgymd.store.formats import result
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
    assert result.problem(path, result.stamp(path)) == "my-lora.safetensors is from an earlier attempt"


def test_an_equal_file_that_was_rewritten_is_the_result(path: Path) -> None:
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
        f"its final file is damaged: my-lora.safetensors has {len(LORA) - 1} bytes, "
        f"but its header describes {len(LORA)}"
    )


@pytest.mark.parametrize("name", ["x" * 300 + ".safetensors", "file/my-lora.safetensors", "loop"])
def test_a_name_that_cannot_be_a_file_is_missing(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").write_bytes(b"")
    (tmp_path / "loop").symlink_to("loop")
    assert result.stamp(tmp_path / name) is None


class TestProgram:
    """result.json is written by a program: whatever it contains, there is an answer."""

    @pytest.fixture
    def told(self, tmp_path: Path) -> Path:
        (tmp_path / "captions").mkdir()
        (tmp_path / "captions" / "a.txt").write_bytes(b"a cat")
        (tmp_path / "empty").write_bytes(b"")
        return tmp_path / "result.json"

    @staticmethod
    def names(told: Path, *files: Any) -> Path:
        told.write_text(json.dumps({"files": [{"path": path, "size": size} for path, size in files]}))
        return told

    @pytest.mark.parametrize("files", [[], [("captions/a.txt", 5)], [("captions/a.txt", 5), ("empty", 0)]])
    def test_existing_files_with_their_sizes_are_a_result(self, told: Path, files: list[Any]) -> None:
        assert result.program_problem(self.names(told, *files), None) is None

    def test_other_keys_are_ignored(self, told: Path) -> None:
        told.write_text('{"files": [{"path": "empty", "size": 0, "sha256": "e3b0"}], "note": [1]}')
        assert result.program_problem(told, None) is None

    def test_no_record_is_not_a_result(self, told: Path) -> None:
        assert result.program_problem(told, None) == "it wrote no result.json"

    def test_a_record_of_an_earlier_attempt_is_not_a_result(self, told: Path) -> None:
        before = result.stamp(self.names(told))
        assert result.program_problem(told, before) == "result.json is from an earlier attempt"
        os.utime(told, ns=(5, 5))
        assert result.program_problem(told, before) is None

    @pytest.mark.parametrize(
        ("file", "problem"),
        [
            (("captions/b.txt", 5), "'captions/b.txt', which result.json names, is missing"),
            (("captions/a.txt/b", 5), "'captions/a.txt/b', which result.json names, is missing"),
            (("captions/a.txt", 6), "'captions/a.txt' has 5 bytes, but result.json says 6"),
            (("captions/a.txt", -1), "'captions/a.txt' has 5 bytes, but result.json says -1"),
            (("captions", 4096), "'captions', which result.json names, is not a file"),
            (("", 4096), "'', which result.json names, is not a file"),
            (("a\0b", 0), "'a\\x00b', which result.json names, is missing"),
            (("x" * 5000, 0), f"'{'x' * 5000}', which result.json names, is missing"),
            (("loop", 0), "'loop', which result.json names, is missing"),
            (("pipe", 0), "'pipe', which result.json names, is not a file"),
        ],
    )
    def test_one_wrong_file_makes_it_not_a_result(self, told: Path, file: tuple[str, int], problem: str) -> None:
        (told.parent / "loop").symlink_to("loop")
        os.mkfifo(told.parent / "pipe")
        assert result.program_problem(self.names(told, ("empty", 0), file), None) == problem

    @pytest.mark.parametrize(
        "text",
        [
            b"",
            b"done\n",
            b"[]",
            b"{}",
            b'{"files": 3}',
            b'{"files": [{"path": "empty"}]}',
            b'{"files": [{"path": "empty", "size": "0"}]}',
            b'{"files": [{"path": "\xff", "size": 0}]}',
            b'{"files": ' + b"[" * 200_000,
            bytes(100),
        ],
        ids=["empty", "text", "list", "no files", "number", "no size", "size as text", "no UTF-8", "deep", "NULs"],
    )
    def test_a_malformed_record_is_not_a_result(self, told: Path, text: bytes) -> None:
        told.write_bytes(text)
        problem = result.program_problem(told, None)
        assert problem is not None
        assert problem.startswith("result.json cannot be read: ")

    def test_a_folder_a_pipe_or_a_huge_file_is_not_read(self, told: Path) -> None:
        unread = "result.json cannot be read: it "
        told.mkdir()
        assert result.program_problem(told, None) == unread + "is a directory, not a regular file"
        told.rmdir()
        os.mkfifo(told)
        assert result.program_problem(told, None) == unread + "is a FIFO, not a regular file"
        told.unlink()
        with told.open("wb") as file:
            file.truncate(result.RESULT_BYTES + 1)
        many = "has 16777217 bytes, and the limit is 16777216"
        assert result.program_problem(told, None) == unread + many

    class TestALargeOne:
        """A large result.json is parsed in a separate process."""

        LONG = "captions/" + "./" * 115 + "a.txt"

        @pytest.fixture(autouse=True)
        def not_here(self, monkeypatch: pytest.MonkeyPatch) -> None:
            def parse(_: Path) -> None:
                raise AssertionError("it is parsed in this process")

            monkeypatch.setattr(result, "_told", parse)

        def test_promise_2_60_000_files_with_long_names_are_a_result(self, told: Path) -> None:
            names = TestProgram.names(told, *[(self.LONG, 5)] * 60_000)
            assert 15 << 20 < names.stat().st_size < result.RESULT_BYTES
            assert result.program_problem(names, None) is None

        @pytest.mark.parametrize(
            ("last", "problem"),
            [
                (("missing\nfile", 5), "'missing\\nfile', which result.json names, is missing"),
                (("empty", 3), "'empty' has 0 bytes, but result.json says 3"),
                (("empty", "0"), "result.json cannot be read: Expected `int`, got `str` - at `$.files[2000].size`"),
            ],
        )
        def test_a_large_header_is_judged_like_a_small_one(
            self, told: Path, last: tuple[str, Any], problem: str
        ) -> None:
            assert result.program_problem(TestProgram.names(told, *[(self.LONG, 5)] * 2000, last), None) == problem
