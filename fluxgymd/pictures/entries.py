# SPDX-License-Identifier: Apache-2.0
"""The files of a source, which is a folder or an archive, before anything of them is read."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import BinaryIO

MOST_ENTRIES = 100_000
"""Names in a source: an entire home directory must not be searched to the end."""
MOST_BYTES = 1 << 30
"""Of one file. An uncompressed picture of 200 megapixels has 600 MB."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SourceFile:
    path: str
    """Relative to the source, with `/` between its parts; a folder that isn't entered ends in one. Bytes that aren't
    UTF-8 are surrogates."""
    open: Callable[[], BinaryIO]
    """May raise OSError, or zipfile's errors."""
    refused: str | None = None
    """Why it must not be opened, as words that follow its name; None if it may."""
    suspicious: bool = False
    """It is reported even if it isn't a picture or a caption, or is in a folder that is left out."""

    @property
    def folder(self) -> str:
        return self.path.rpartition("/")[0]

    @property
    def name(self) -> str:
        return self.path.rpartition("/")[2]


@dataclass(frozen=True, kw_only=True, slots=True)
class Listing:
    entries: list[SourceFile]
    """Sorted by their paths."""
    title: str
    """The source's own name, which may be in sd-scripts' layout too."""
    notes: list[str]


class Unlistable(Exception):
    """The source as a whole cannot be read. The message is a sentence."""
