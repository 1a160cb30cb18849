# SPDX-License-Identifier: Apache-2.0
"""Small copies of pictures, in `cache/thumbnails/` of the home. Each is made once, by a process with limits.

A client gets the path of a file and not its bytes, so a page of a thousand pictures costs the daemon a thousand short
messages. The least recently used ones are deleted when their total size is too large: nobody asks for the pictures of
a deleted job again.
"""

import hashlib
import os
import re
from pathlib import Path

from fluxgym.errors import InvalidDataset
from fluxgymd.background import bounded, helpers, lanes
from fluxgymd.background.bounded import Overran
from fluxgymd.background.helpers import ResourceLimits
from fluxgymd.background.turns import Turns
from fluxgymd.store.caches import least_used

SIDES = (128, 256, 512, 1024)
"""Pixels. A requested size is rounded up, so that a client that asks for many sizes does not fill the disk."""
SIDE = 256
MOST = SIDES[-1]
AT_ONCE = 4
MOST_BYTES = 1 << 30
BETWEEN_LOOKS = 256
"""After how many new copies the total size is checked again."""
SECONDS = 60.0
LIMITS = ResourceLimits(data_bytes=4 << 30, nice=5)
_FILE = re.compile(r"([0-9a-f]{64})-\d+\.jpg")


class SmallCopies:
    def __init__(self, home: Path) -> None:
        self._folder = home / "cache" / "thumbnails"
        self._turns = Turns(AT_ONCE)
        self._made = 0

    async def of(self, source: Path, key: str, side: int, *, lane: str) -> Path:
        """The path of a small copy. `key`: the SHA-256 of the picture or of its version. `side`: pixels of the longer
        side, at most MOST. InvalidDataset if the picture cannot be opened."""
        size = next(one for one in SIDES if one >= side)
        target = self._folder / key[:2] / f"{key}-{size}.jpg"
        if not await lanes.answer(lane, os.path.exists, target):
            async with self._turns.turn():
                if self._made % BETWEEN_LOOKS == 0:
                    await lanes.answer(lane, least_used.trim, self._folder, MOST_BYTES)
                self._made += 1
                await lanes.answer(lane, _make, source, target, size)
        return target

    def forget(self, deleted: list[str]) -> None:
        """Deletes the small copies of the pictures with these SHA-256. Blocks."""
        gone = set(deleted)
        for folder, _, names in os.walk(self._folder):
            for file in names:
                found = _FILE.fullmatch(file)
                if found is not None and found[1] in gone:
                    os.unlink(os.path.join(folder, file))


def version(path: Path) -> str:
    """A key for this version of a file that may change. Blocks."""
    facts = path.stat()
    return hashlib.sha256(repr((str(path), facts.st_size, facts.st_mtime_ns)).encode()).hexdigest()


def _make(source: Path, target: Path, side: int) -> None:
    target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    words = helpers.command("fluxgymd.pictures.thumbnail", str(source), str(target), str(side))
    try:
        done = bounded.run(words, seconds=SECONDS, most=0, limits=LIMITS, cwd=helpers.DIRECTORY)
    except Overran as error:
        raise InvalidDataset(f"No thumbnail of {source} could be made: {error}.", path=str(source)) from None
    if done.status != 0:
        said = done.errors.decode(errors="replace").strip()
        raise InvalidDataset(said or f"No thumbnail of {source} could be made.", path=str(source))
