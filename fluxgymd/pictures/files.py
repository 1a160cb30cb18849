# SPDX-License-Identifier: Apache-2.0
"""Words about users' files. Nothing here decodes a picture, so the daemon may import it."""

import os
import stat
from pathlib import Path


def not_a_file(path: Path) -> str | None:
    """Why a path cannot be opened like a file, as words that follow its name; None if it can. Opening a pipe would
    block forever."""
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        return f"is a link to {path.readlink()}, which does not exist" if path.is_symlink() else "no longer exists"
    except OSError as error:
        return f"cannot be read: {reason(error)}"
    if stat.S_ISREG(mode):
        return None
    return "is a folder, not a file" if stat.S_ISDIR(mode) else "is not a file"


def reason(error: OSError) -> str:
    """The system's message and, if a permission is missing, what to do."""
    words = (error.strerror or type(error).__name__).lower()
    return f"{words}; make it readable for your user" if isinstance(error, PermissionError) else words


def printable(text: object) -> str:
    """The text, with U+FFFD for the parts of a file's name that are not UTF-8, since JSON cannot hold them."""
    return os.fsencode(str(text)).decode(errors="replace")
