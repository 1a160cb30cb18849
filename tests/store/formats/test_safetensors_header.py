# SPDX-License-Identifier: Apache-2.0
"""A safetensors file is complete if its length matches its header; any other problem is reported in one clause."""

import struct
from pathlib import Path

import pytest

from fluxgymd.background import helpers
from fluxgymd.background.lanes import NoAnswer
from fluxgymd.store import large_files
from fluxgymd.store.formats import safetensors_header
from tests.store.files import LORA, safetensors, with_header


@pytest.mark.parametrize("content", [LORA, safetensors({}), safetensors({"scalar": []}, metadata={})])
def test_a_complete_file_has_no_problem(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "my-lora.safetensors"
    path.write_bytes(content)
    assert safetensors_header.problem(path) is None


def test_the_tensors_are_listed_without_the_metadata(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    path.write_bytes(LORA)
    tensors = safetensors_header.read(path).tensors
    assert {name: tensor.shape for name, tensor in tensors.items()} == {
        "a.lora_down.weight": (4, 8),
        "a.lora_up.weight": (8, 4),
    }


def test_every_truncation_is_reported(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    for cut in range(len(LORA)):
        path.write_bytes(LORA[:cut])
        assert safetensors_header.problem(path) is not None, cut


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "x.safetensors is too short to be a safetensors file"),
        (b"1234567", "x.safetensors is too short to be a safetensors file"),
        (LORA[:-1], f"x.safetensors has {len(LORA) - 1} bytes, but its header describes {len(LORA)}"),
        (LORA + b"x", f"x.safetensors has {len(LORA) + 1} bytes, but its header describes {len(LORA)}"),
        (b"\x89PNG\r\n\x1a\n" + bytes(100), "x.safetensors is not a safetensors file"),
        (struct.pack("<Q", 2**63), "x.safetensors is not a safetensors file"),
        (with_header(b"[]"), "x.safetensors is not a safetensors file"),
        (with_header(b'{"a":5}'), "x.safetensors is not a safetensors file"),
        (with_header(b'{"a":{"shape":[1]}}'), "x.safetensors is not a safetensors file"),
        (with_header(b'{"a":{"shape":[1],"data_offsets":[0]}}'), "x.safetensors is not a safetensors file"),
        (with_header(b'{"a":{"shape":[1],"data_offsets":[0,"8"]}}'), "x.safetensors is not a safetensors file"),
        (with_header(b'{"a":{"shape":["x"],"data_offsets":[0,8]}}'), "x.safetensors is not a safetensors file"),
        (with_header(b'{"\xff":1}'), "x.safetensors is not a safetensors file"),
        (with_header(b'{"a":' + b"[" * 100_000), "x.safetensors is not a safetensors file"),
    ],
)
def test_the_problem_is_one_clause(tmp_path: Path, content: bytes, says: str) -> None:
    path = tmp_path / "x.safetensors"
    path.write_bytes(content)
    assert safetensors_header.problem(path) == says


def test_a_missing_file_is_missing(tmp_path: Path) -> None:
    assert safetensors_header.problem(tmp_path / "x.safetensors") == "x.safetensors is missing"


def test_a_folder_of_that_name_is_reported_in_the_systems_words(tmp_path: Path) -> None:
    assert "it is a directory" in str(safetensors_header.problem(tmp_path))


class TestALargeHeader:
    """A header that is larger than trainers usually write is parsed in a separate process."""

    @pytest.fixture(autouse=True)
    def not_here(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def parse(*_: object) -> None:
            raise AssertionError("it is parsed in this process")

        monkeypatch.setattr(safetensors_header, "_parse", parse)

    def test_a_large_header_is_reported_like_a_small_one(self, tmp_path: Path) -> None:
        path = tmp_path / "x.safetensors"
        captions = {"ss_tag_frequency": "a cat, " * 50_000, "ss_epoch": "4"}
        content = safetensors({"a.lora_down.weight": [4, 8]}, metadata=captions)
        path.write_bytes(content)
        assert safetensors_header.problem(path) is None
        header = safetensors_header.read(path)
        assert {name: tensor.shape for name, tensor in header.tensors.items()} == {"a.lora_down.weight": (4, 8)}
        assert header.texts == {"ss_epoch": "4"}
        path.write_bytes(content[:-1])
        torn = f"x.safetensors has {len(content) - 1} bytes, but its header describes {len(content)}"
        assert safetensors_header.problem(path) == torn
        with pytest.raises(safetensors_header.NotSafetensors, match="its header describes"):
            safetensors_header.read(path)

    def test_a_large_header_is_read_once_per_version_of_the_file(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        path = tmp_path / "x.safetensors"
        path.write_bytes(safetensors({}, metadata={"x": "y" * 300_000}))
        safetensors_header.check(path)
        monkeypatch.setattr(safetensors_header, "_ask", None)
        safetensors_header.check(path)

    def test_promise_10_a_header_that_would_take_gigabytes_of_memory_is_given_up(self, tmp_path: Path) -> None:
        path = tmp_path / "x.safetensors"
        path.write_bytes(with_header(b'{"a":[' + b"{}," * 8_000_000 + b"{}]}"))
        assert safetensors_header.problem(path) == (
            "x.safetensors has a header that takes more than 512 MiB of memory to read"
        )

    def test_a_header_with_more_tensors_than_any_model_is_refused(self, tmp_path: Path) -> None:
        path = tmp_path / "x.safetensors"
        path.write_bytes(safetensors({f"tensor-{number}": [] for number in range(10_001)}))
        assert safetensors_header.problem(path) == "x.safetensors lists more than 10000 tensors"

    def test_promise_10_only_the_first_of_many_texts_are_reported(self, tmp_path: Path) -> None:
        path = tmp_path / "x.safetensors"
        texts = {"too long": "x" * 257, "x" * 257: "too long", **{f"text {number}": "x" for number in range(200_000)}}
        path.write_bytes(safetensors({}, metadata=texts))
        assert list(safetensors_header.read(path).texts) == [f"text {number}" for number in range(1000)]

    def test_a_header_is_unknown_and_not_torn_if_the_program_does_not_answer(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        path = tmp_path / "x.safetensors"
        path.write_bytes(safetensors({}, metadata={"x": "y" * 300_000}))
        monkeypatch.setattr(helpers, "command", lambda *_: ["/bin/false"])
        with pytest.raises(OSError, match="ended with status 1"):
            safetensors_header.check(path)

    def test_a_header_that_no_program_had_time_to_read_is_unknown_and_requested_again(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        path = tmp_path / "x.safetensors"
        path.write_bytes(safetensors({}, metadata={"x": "y" * 300_000}))
        with monkeypatch.context() as busy:
            busy.setattr(large_files, "SECONDS", 0.0)
            for look in (safetensors_header.check, safetensors_header.problem, safetensors_header.read):
                with pytest.raises(NoAnswer):
                    look(path)
        assert safetensors_header.problem(path) is None
