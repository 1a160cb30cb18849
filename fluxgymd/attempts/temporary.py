# SPDX-License-Identifier: Apache-2.0
"""The folder for an attempt's temporary files, its TMPDIR. It is removed with the attempt, however that ends.

Invariants. The folder's name follows from the attempt's mark, which nobody else can guess, and its path is in the
journal before the folder exists, so it is found again after any crash. `mkdir` creates the folder or fails: it never
takes over an existing folder or follows a link. The folder is removed only when nothing of the attempt is left.
docs/decisions/0072-temporary-files.md says where it is.
"""

import os
import shutil
import stat
from collections.abc import Mapping
from pathlib import Path

from fluxgym import paths

PREFIX = "fluxgym-"
PATH_BYTES = 70
"""Longest path of the folder. The path of a Unix socket has at most 107 bytes (unix(7)); below the folder,
multiprocessing needs 32 of them (`/pymp-xxxxxxxx/listener-xxxxxxxx`) and PyTorch's memory manager 34
(`/torch-shm-dir-xxxxxx/manager.sock`)."""
USUAL = ("/tmp", "/var/tmp")


def choose(mark: str, environ: Mapping[str, str]) -> Path | None:
    """The path for the folder of the attempt with this mark: below the daemon's TMPDIR, or in /tmp or /var/tmp if
    that can't be used. None if none can be used; then the trainer has to find a place itself. Blocks."""
    bases = [Path(base) for base in (environ.get("TMPDIR", ""), *USUAL) if base.startswith("/")]
    places = (base / _name(mark) for base in bases if _is_usable(base))
    return next((path for path in places if len(os.fsencode(path)) <= PATH_BYTES), None)


def make(path: Path) -> None:
    """Creates the folder. OSError if that fails, or if anything exists at this path. Blocks."""
    path.mkdir(mode=0o700)


def remove(path: Path, mark: str) -> str | None:
    """Removes the folder with its contents. Returns why it still exists, in one sentence; None if it is gone. Blocks.

    The path is checked, since the journal that names it may have been edited by hand or come from another machine.
    """
    if path.name != _name(mark) or not path.is_absolute():
        return f"{path} is not the name of a folder of this attempt, so it is kept."
    try:
        found = path.lstat()
    except FileNotFoundError:
        return None
    except OSError as error:
        return f"{path} could not be removed: {error.strerror}."
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
        return f"{path} is not a folder of this user, so it is kept."
    shutil.rmtree(path, ignore_errors=True)  # follows no links (shutil.rmtree.avoids_symlink_attacks)
    return f"{path} could not be removed completely." if path.exists() else None


def _name(mark: str) -> str:
    return PREFIX + mark[:12]


def _is_usable(base: Path) -> bool:
    """Whether the folder is writable, nobody else can rename what is in it, and its path is UTF-8, as the journal
    requires."""
    try:
        mode = base.stat().st_mode
    except OSError:
        return False
    if mode & stat.S_IWOTH and not mode & stat.S_ISVTX:
        return False
    return stat.S_ISDIR(mode) and os.access(base, os.W_OK | os.X_OK) and paths.is_utf8(base)
