# SPDX-License-Identifier: Apache-2.0
"""Reads a text from the metadata of a PNG file without decoding the picture (w3.org/TR/png-3, section 11.3.3.4). Our
trainer stores the prompt of a sample there; the job's own prompts may have been edited since.
"""

import struct
from pathlib import Path

from fluxgym.files import open_for_reading

SIGNATURE = b"\x89PNG\r\n\x1a\n"
HEAD_BYTES = 16 << 10
"""How many bytes are searched: our trainer writes the text directly after the header."""


def text(path: Path, keyword: str) -> str | None:
    """The uncompressed international text (iTXt) with this keyword; None if there is none. Blocks."""
    try:
        with open_for_reading(path) as file:
            return found_in(file.read(HEAD_BYTES), keyword)
    except OSError:
        return None


def found_in(head: bytes, keyword: str) -> str | None:
    """The same, from the first bytes of a file."""
    place = len(SIGNATURE) if head.startswith(SIGNATURE) else len(head)
    while place + 8 <= len(head):
        length, kind = struct.unpack_from(">I4s", head, place)
        data = head[place + 8 : place + 8 + length]
        if kind == b"IDAT" or len(data) < length:
            return None
        name, _, rest = data.partition(b"\0")
        if kind == b"iTXt" and name == keyword.encode() and rest.startswith(b"\0"):
            value = rest[2:].split(b"\0", 2)[-1]  # after a language tag and a translated keyword
            return value.decode(errors="replace")
        place += 12 + length
    return None
