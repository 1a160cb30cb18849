# SPDX-License-Identifier: Apache-2.0
"""Computes the disk space that deleting a folder would free."""

import os
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path


def own_bytes(folder: Path, *, swept: Path | None = None) -> int:
    """Bytes on the disk of all files below a folder, except those with another hard link outside it, such as pictures
    of the store and shared caches. `swept`: a folder whose links do not count, since each is deleted with the last
    other link to its file (store/caches/shared_pictures.py). Holes take no space. Blocks; unreadable files do not
    count."""
    names: Counter[tuple[int, int]] = Counter()
    size: dict[tuple[int, int], int] = {}
    links: dict[tuple[int, int], int] = {}
    for status in _statuses(os.fspath(folder)):
        file = (status.st_dev, status.st_ino)
        names[file] += 1
        size[file], links[file] = status.st_blocks * 512, status.st_nlink
    if swept is not None:
        for status in _statuses(os.fspath(swept)):
            file = (status.st_dev, status.st_ino)
            if file in names:
                names[file] += 1
    return sum(size[file] for file, count in names.items() if count >= links[file])


def _statuses(folder: str) -> Iterator[os.stat_result]:
    folders = [folder]
    while folders:
        with suppress(OSError), os.scandir(folders.pop()) as entries:
            for entry in entries:
                with suppress(OSError):
                    if entry.is_dir(follow_symlinks=False):
                        folders.append(entry.path)
                    else:
                        yield entry.stat(follow_symlinks=False)
