# SPDX-License-Identifier: Apache-2.0
"""Reads captions in any encoding.

UTF-8 and UTF-16 are certain. Older encodings can only be guessed, so a guess comes with a note, and a short text in
one of them that fits several is refused: a wrong guess would be trained on.
"""

import re
from dataclasses import dataclass

import charset_normalizer

from fluxgymd.core.datasets.changing import MOST_CAPTION

MOST_BYTES = 1 << 20
"""More are not decoded."""
BOMS = ((b"\xef\xbb\xbf", "utf-8"), (b"\xff\xfe\0\0", "utf-32"), (b"\0\0\xfe\xff", "utf-32"))
BOMS_16 = (b"\xff\xfe", b"\xfe\xff")
WESTERN = "cp1252"
OTHERS = {
    "cp932": "Shift-JIS",
    "gb18030": "GB 18030",
    "cp949": "Korean (Windows-949)",
    "big5": "Big5",
    "euc_jp": "EUC-JP",
    "cp1251": "Windows-1251 (Cyrillic)",
}
"""In the order in which charset-normalizer prefers them if several fit equally well."""
LEAST_OTHER_BYTES = 8
"""Of those beyond ASCII: with fewer, almost anything is a word in some encoding."""
BEYOND_ASCII = re.compile(rb"[\x80-\xff]+")
CONTROLS = re.compile("[\0-\x08\x0e-\x1f\x7f]")
HALF_WIDTH = re.compile("[\uff61-\uff9f]")
"""Katakana of half width: in two thirds of a text they are a wrong guess, since single bytes stand for them."""


class Undecodable(Exception):
    """The message is the words that follow the caption's name."""


@dataclass(frozen=True, slots=True)
class Caption:
    text: str
    """With \\n as its line breaks, and without a byte order mark."""
    encoding: str | None
    """The encoding that was guessed, in words; None if there was nothing to guess."""


def decode(data: bytes) -> Caption:
    """The text of a caption file. Raises Undecodable."""
    if len(data) > MOST_BYTES:
        raise Undecodable(f"has {len(data)} bytes, but a caption has at most {MOST_BYTES}; shorten it")
    text, encoding = _decoded(data)
    if len(text) > MOST_CAPTION:
        raise Undecodable(f"has {len(text)} characters, but a caption has at most {MOST_CAPTION}; shorten it")
    if CONTROLS.search(text):
        raise Undecodable("is not a text; replace it or delete it")
    return Caption(text.replace("\r\n", "\n").replace("\r", "\n"), encoding)


def _decoded(data: bytes) -> tuple[str, str | None]:
    for name in _certain(data):
        try:
            return data.decode(name).removeprefix("\ufeff"), None
        except UnicodeDecodeError:
            pass
    if _is_damaged_utf8(data):
        raise Undecodable("is UTF-8 with damaged bytes; save it again as UTF-8")
    runs = [len(run) for run in BEYOND_ASCII.findall(data)]
    if max(runs, default=0) <= 2 and sum(runs) * 4 <= len(data):
        # A few letters with accents in a text of ASCII, where other scripts have long runs.
        try:
            return data.decode(WESTERN), "Windows-1252 (Western European)"
        except UnicodeDecodeError:
            pass
    found = charset_normalizer.from_bytes(data, cp_isolation=list(OTHERS)).best()
    if found is not None:
        text = str(found)
        beyond = sum(character > "\x7f" for character in text)
        if sum(runs) >= LEAST_OTHER_BYTES and len(HALF_WIDTH.findall(text)) * 3 < beyond * 2:
            return text, OTHERS.get(found.encoding, found.encoding)
    raise Undecodable("has an encoding that cannot be told with certainty; save it as UTF-8")


def _is_damaged_utf8(data: bytes) -> bool:
    """Whether most of the text is UTF-8: it was cut off, or two encodings were mixed."""
    valid = sum(len(character.encode()) for character in data.decode(errors="ignore") if character > "\x7f")
    return valid * 5 > 4 * sum(map(len, BEYOND_ASCII.findall(data)))


def _certain(data: bytes) -> list[str]:
    """The encodings that the text must be in if it can be decoded with them at all."""
    for mark, encoding in BOMS:
        if data.startswith(mark):
            return [encoding]
    if data.startswith(BOMS_16):
        return ["utf-16"]
    if len(data) % 2 == 0 and b"\0" in data:
        # UTF-16 without a mark: every other byte of Latin letters is zero.
        even, odd = data[::2].count(0), data[1::2].count(0)
        return ["utf-16-le" if odd > even else "utf-16-be"] if abs(odd - even) * 4 > len(data) // 2 else []
    return ["utf-8"]
