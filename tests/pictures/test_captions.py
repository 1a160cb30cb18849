# SPDX-License-Identifier: Apache-2.0
"""Tests of reading captions in any encoding."""

import codecs

import pytest

from fluxgymd.pictures import captions
from fluxgymd.pictures.captions import Undecodable

WESTERN = "Windows-1252 (Western European)"
JAPANESE = "写真、窓辺に座っている猫, 赤い傘"


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"", ""),
        (b"a cat\r\nin the sun\r", "a cat\nin the sun\n"),
        ("a café, 猫".encode(), "a café, 猫"),
        (codecs.BOM_UTF8 + "é".encode(), "é"),
        (codecs.BOM_UTF16_LE + "é 猫".encode("utf-16-le"), "é 猫"),
        (codecs.BOM_UTF16_BE + "é 猫".encode("utf-16-be"), "é 猫"),
        (codecs.BOM_UTF32_LE + "é".encode("utf-32-le"), "é"),
        ("a café".encode("utf-16-le"), "a café"),
        ("a café".encode("utf-16-be"), "a café"),
    ],
)
def test_an_encoding_that_is_certain_gets_no_note(data: bytes, text: str) -> None:
    assert captions.decode(data) == captions.Caption(text, None)


@pytest.mark.parametrize(
    ("text", "codec", "words"),
    [
        ("a naïve girl in a café, señor", "latin-1", WESTERN),
        ("“a cat” in the photographer's garden, 5 €…", "cp1252", WESTERN),
        ("Straße, schöne Häuser", "cp1252", WESTERN),
        (JAPANESE, "cp932", "Shift-JIS"),
        ("一只红色的猫坐在窗台上", "gb18030", "GB 18030"),
        ("빨간 고양이가 창가에", "cp949", "Korean (Windows-949)"),
        ("красная кошка на окне", "cp1251", "Windows-1251 (Cyrillic)"),
    ],
)
def test_an_older_encoding_is_guessed_and_named(text: str, codec: str, words: str) -> None:
    assert captions.decode(text.encode(codec)) == captions.Caption(text, words)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ("日本".encode("euc_jp"), "has an encoding that cannot be told with certainty; save it as UTF-8"),
        (b"\x81\x8d\x8f", "has an encoding that cannot be told with certainty; save it as UTF-8"),
        (codecs.BOM_UTF16_LE + b"a", "has an encoding that cannot be told with certainty; save it as UTF-8"),
        (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "is not a text; replace it or delete it"),
        (b"a\0b", "is not a text; replace it or delete it"),
        ("écrit à l'été".encode()[:-1], "is UTF-8 with damaged bytes; save it again as UTF-8"),
        ("一只红色的猫坐在窗台上".encode()[:-1], "is UTF-8 with damaged bytes; save it again as UTF-8"),
        ("é".encode() * 100_001, "has 100001 characters, but a caption has at most 100000; shorten it"),
        (b"a" * 1048577, "has 1048577 bytes, but a caption has at most 1048576; shorten it"),
    ],
)
def test_a_caption_that_would_be_a_wrong_guess_is_refused(data: bytes, words: str) -> None:
    with pytest.raises(Undecodable) as refused:
        captions.decode(data)
    assert str(refused.value) == words
