# SPDX-License-Identifier: Apache-2.0
"""A safetensors file is whole if it is as long as its header says; anything else is told in one clause."""

import struct
from pathlib import Path

import pytest

from fluxgymd.store import safetensors_header
from tests.store.files import LORA, safetensors, with_header


@pytest.mark.parametrize("content", [LORA, safetensors({}), safetensors({"scalar": []}, metadata={})])
def test_a_whole_file_has_no_problem(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "my-lora.safetensors"
    path.write_bytes(content)
    assert safetensors_header.problem(path) is None


def test_the_tensors_are_told_without_the_metadata(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    path.write_bytes(LORA)
    tensors = safetensors_header.read(path)
    assert {name: tensor.shape for name, tensor in tensors.items()} == {
        "a.lora_down.weight": (4, 8),
        "a.lora_up.weight": (8, 4),
    }


def test_every_truncation_is_told(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    for cut in range(len(LORA)):
        path.write_bytes(LORA[:cut])
        assert safetensors_header.problem(path) is not None, cut


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "x.safetensors is too short to be a safetensors file"),
        (b"1234567", "x.safetensors is too short to be a safetensors file"),
        (LORA[:-1], f"x.safetensors has {len(LORA) - 1} bytes, but its header tells of {len(LORA)}"),
        (LORA + b"x", f"x.safetensors has {len(LORA) + 1} bytes, but its header tells of {len(LORA)}"),
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
def test_what_is_wrong_is_one_clause(tmp_path: Path, content: bytes, says: str) -> None:
    path = tmp_path / "x.safetensors"
    path.write_bytes(content)
    assert safetensors_header.problem(path) == says


def test_a_missing_file_is_missing(tmp_path: Path) -> None:
    assert safetensors_header.problem(tmp_path / "x.safetensors") == "x.safetensors is missing"


def test_a_folder_of_that_name_is_told_by_the_system(tmp_path: Path) -> None:
    assert "Is a directory" in str(safetensors_header.problem(tmp_path))
