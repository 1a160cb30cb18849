# SPDX-License-Identifier: Apache-2.0
"""Lists the files of a folder, or a single picture with its caption. Links that lead out of it are refused."""

import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import BinaryIO

from fluxgymd.pictures.entries import MOST_BYTES, MOST_ENTRIES, Listing, SourceFile, Unlistable
from fluxgymd.pictures.files import not_a_file, reason
from fluxgymd.pictures.names import MASK, is_junk


def list_folder(root: Path) -> Listing:
    """All files at any depth, but no hidden ones. Raises Unlistable."""
    try:
        root = root.resolve(strict=True)
        os.listdir(root)
    except OSError as error:
        raise Unlistable(f"The folder {root} cannot be read: {reason(error)}.") from None
    entries = []
    for entry in _walk(root, root, ""):
        entries.append(entry)
        if len(entries) == MOST_ENTRIES:
            note = f"{root} contains more than {MOST_ENTRIES} files; the rest of them were not looked at."
            return Listing(entries=entries, title=root.name, notes=[note])
    return Listing(entries=sorted(entries, key=lambda entry: entry.path), title=root.name, notes=[])


def list_picture(picture: Path, caption_ending: str) -> Listing:
    """One picture, and the caption and the mask beside it. Raises Unlistable."""
    if not os.path.lexists(picture):
        raise Unlistable(f"{picture} does not exist; give a folder, a picture or a ZIP archive.")
    problem = not_a_file(picture)
    if problem:
        raise Unlistable(f"{picture} {problem}.")
    names = [picture.name, picture.stem + caption_ending, picture.stem + MASK]
    there = [name for name in dict.fromkeys(names) if os.path.lexists(picture.with_name(name))]
    root = picture.parent.resolve()
    return Listing(entries=[_entry(root, root / name, name, given=True) for name in there], title="", notes=[])


def _walk(root: Path, folder: Path, beginning: str) -> Iterator[SourceFile]:
    try:
        with os.scandir(folder) as found:
            children = sorted(found, key=lambda child: child.name)
    except OSError as error:
        yield _refused(beginning, f"cannot be read: {reason(error)}")
        return
    folders = []
    for child in children:
        path = beginning + child.name
        if is_junk(child.name):
            continue
        if child.is_dir(follow_symlinks=False):
            folders.append(child.name)
        elif child.is_dir():
            yield _refused(f"{path}/", f"is a link to the folder {os.readlink(child.path)}; links are not followed")
        else:
            yield _entry(root, folder / child.name, path)
    for name in folders:
        yield from _walk(root, folder / name, f"{beginning}{name}/")


def _entry(root: Path, path: Path, relative: str, *, given: bool = False) -> SourceFile:
    """`given`: the user has named this file, so it may be a link to anywhere."""
    problem = not_a_file(path)
    if problem is None and path.is_symlink() and not given and not path.resolve().is_relative_to(root):
        problem = f"is a link to {os.readlink(path)}, which is outside of the folder; copy the file itself into it"
    return SourceFile(path=relative, open=partial(_open, path), refused=problem)


def _open(path: Path) -> BinaryIO:
    file = path.open("rb")
    if os.fstat(file.fileno()).st_size > MOST_BYTES:
        file.close()
        raise OSError(f"it has more than {MOST_BYTES >> 20} MB")
    return file


def _refused(path: str, words: str) -> SourceFile:
    def never() -> BinaryIO:
        raise OSError(words)

    return SourceFile(path=path, open=never, refused=words)
