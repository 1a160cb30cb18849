# SPDX-License-Identifier: Apache-2.0
"""Chooses the folder in which PyTorch keeps compiled code. It must be this user's alone, since trainings load code
from it.

PyTorch's own choice is `torchinductor_USER` in the temporary directory, a name that any user can take first: a file
of that name would end every training, and the owner of a folder of that name could run any code. No torch is imported
here, because the folder has to be chosen before that import.
"""

from __future__ import annotations

import atexit
import os
import shutil
import stat
import tempfile
from pathlib import Path

from library import environment
from library.errors import TrainerError
from library.findings import warn

VARIABLE = "TORCHINDUCTOR_CACHE_DIR"


def settle() -> None:
    """Sets the environment variable that names the folder to PyTorch, unless the user has set it.

    Falls back to a temporary folder, with a warning, if the default one can't be used. Raises
    TrainerError if the user's folder can't be trusted.
    """
    named = os.environ.get(VARIABLE)
    if named is not None:
        if (problem := untrusted(Path(named))) is not None:
            raise TrainerError(f"{VARIABLE} is {named}, but {problem}; set it to a folder of your own")
        return
    base = environment.user_cache()
    folder, problem = None, "there is no home directory"
    if base is not None:
        folder = base / "torchinductor"
        problem = _made(folder)
    if folder is None or problem is not None:
        folder = Path(tempfile.mkdtemp(prefix="torchinductor-"))
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
        warn(f"compiled code is kept for this run only: {problem}; to keep it, set {VARIABLE} to a folder")
    os.environ[VARIABLE] = str(folder)


def untrusted(folder: Path) -> str | None:
    """Why code must not be loaded from this folder, as part of a sentence; None if it may, or if nothing is there."""
    try:
        found = folder.stat()
    except FileNotFoundError:
        return "it is a broken symbolic link" if folder.is_symlink() else None
    except OSError as error:
        return f"it can't be accessed ({error.strerror})"
    if not stat.S_ISDIR(found.st_mode):
        return "it is not a folder"
    if found.st_uid not in (os.getuid(), 0):
        return f"it belongs to user {found.st_uid}, who could replace the code in it"
    if found.st_mode & stat.S_IWOTH:
        return "every user can write to it"
    return None


def _made(folder: Path) -> str | None:
    """Creates the folder if it does not exist. Says why it can't be used, naming it; None if it can."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        return f"{folder} can't be created ({error.strerror})"
    problem = untrusted(folder)
    if problem is None and not os.access(folder, os.W_OK | os.X_OK):
        problem = "it can't be written to"
    return None if problem is None else f"{folder} can't be used, because {problem}"
