# SPDX-License-Identifier: Apache-2.0
"""Texts in PNG files as Pillow writes them, and files that are not PNGs."""

import io
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, PngImagePlugin

from fluxgymd.store.formats import png_text


def png(prompt: str | None, *, zipped: bool = False) -> bytes:
    written = PngImagePlugin.PngInfo()
    written.add_itxt("other", "x")
    if prompt is not None:
        written.add_itxt("prompt", prompt, zip=zipped)
    data = io.BytesIO()
    Image.new("RGB", (8, 8)).save(data, format="PNG", pnginfo=written)
    return data.getvalue()


@pytest.mark.parametrize(
    ("data", "found"),
    [
        (png("a cat, 猫"), "a cat, 猫"),
        (png(""), ""),
        (png(None), None),
        (png("a cat", zipped=True), None),
        (png("x" * 20_000), None),
        (b"", None),
        (b"prompt", None),
    ],
)
def test_the_text_under_a_keyword_is_read(tmp_path: Path, data: bytes, found: str | None) -> None:
    (tmp_path / "a.png").write_bytes(data)
    assert png_text.text(tmp_path / "a.png", "prompt") == found


def test_a_missing_file_has_no_text(tmp_path: Path) -> None:
    assert png_text.text(tmp_path / "a.png", "prompt") is None


@given(st.integers(0, 200), st.binary(max_size=8))
def test_a_damaged_file_has_some_text_or_none(place: int, damage: bytes) -> None:
    whole = png("a cat")
    data = whole[:place] + damage + whole[place + len(damage) :]
    assert isinstance(png_text.found_in(data, "prompt"), str | None)
