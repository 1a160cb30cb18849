# SPDX-License-Identifier: Apache-2.0
"""The store of pictures: each picture once, read-only, under the SHA-256 of its bytes.

It is below `datasets/` of the home, so that a job's snapshot can link its pictures instead of copying them. A file
is never changed once it has its name; it may be deleted when no dataset and no job uses it.
"""

import os
import re
from collections.abc import Set as AbstractSet
from pathlib import Path

STORE = ".store"
FILE = re.compile(r"([0-9a-f]{64})\.[a-z]+")
"""The names of stored pictures."""


class PictureStore:
    def __init__(self, home: Path) -> None:
        self.home = home
        self.path = home / "datasets" / STORE

    def file(self, sha256: str, ending: str) -> Path:
        """The file of a picture. `ending`: that of its format, such as .jpg."""
        return file_in(self.path, sha256, ending)

    def collect(self, used: AbstractSet[str]) -> list[str]:
        """Deletes all files but those with these SHA-256, and returns the SHA-256 of the deleted ones. Jobs keep
        theirs, since each has a link or a copy. Blocks; OSError."""
        deleted = []
        for folder, _, names in os.walk(self.path):
            for name in names:
                found = FILE.fullmatch(name)
                if found is not None and found[1] not in used:
                    os.unlink(os.path.join(folder, name))
                    deleted.append(found[1])
        return deleted


def file_in(store: Path, sha256: str, ending: str) -> Path:
    """The same in a store that is given by its path, as the importer gets it."""
    return store / sha256[:2] / f"{sha256}{ending}"
