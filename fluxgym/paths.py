# SPDX-License-Identifier: Apache-2.0
"""Where things lie. Nothing else in the programs computes a path of these (DESIGN: Where things lie)."""

import os
import stat
import tempfile
from collections.abc import Mapping
from pathlib import Path

from fluxgym.errors import ConfigInvalid

SOCKET_PATH_LIMIT = 107
"""Bytes of a Unix socket's path: sockaddr_un has 108 with the ending NUL (unix(7))."""


def config_file(environ: Mapping[str, str]) -> Path:
    return _base(environ, "XDG_CONFIG_HOME", ".config") / "fluxgym" / "config.toml"


def default_home(environ: Mapping[str, str]) -> Path:
    return _base(environ, "XDG_DATA_HOME", ".local/share") / "fluxgym"


def machine_state(environ: Mapping[str, str]) -> Path:
    """What is true of this machine and not of a job; on local disk, unlike a home."""
    return _base(environ, "XDG_STATE_HOME", ".local/state") / "fluxgym" / "machine"


def default_socket(environ: Mapping[str, str]) -> Path:
    """The socket's path where FLUXGYM_SOCKET does not name one."""
    runtime = environ.get("XDG_RUNTIME_DIR")
    if runtime:
        return Path(runtime) / "fluxgym" / "fluxgymd.sock"
    return Path(tempfile.gettempdir()) / f"fluxgym-{os.getuid()}" / "fluxgymd.sock"


def check_socket(path: Path) -> Path:
    """The path itself, if a socket can lie there."""
    if len(os.fsencode(path)) > SOCKET_PATH_LIMIT:
        raise ConfigInvalid(
            f"The socket path {path} is longer than {SOCKET_PATH_LIMIT} bytes, which is the limit of Unix sockets; "
            "set FLUXGYM_SOCKET to a shorter one."
        )
    return path


def check_socket_folder(folder: Path) -> None:
    """Refuses a folder in which another user could put a socket of theirs under our name.

    The temporary folder is writable for everybody, so who made `fluxgym-UID` there must be checked, not assumed.
    """
    facts = folder.lstat()
    if stat.S_ISLNK(facts.st_mode) or not stat.S_ISDIR(facts.st_mode):
        problem = "it is not a folder"
    elif facts.st_uid not in (os.getuid(), 0):
        problem = f"it belongs to user {facts.st_uid}"
    elif facts.st_mode & 0o022:  # root's too: /tmp keeps nobody from being there first
        problem = "others may write to it"
    else:
        return
    raise ConfigInvalid(f"The socket folder {folder} is not safe: {problem}; set FLUXGYM_SOCKET to another place.")


def _base(environ: Mapping[str, str], variable: str, fallback: str) -> Path:
    # The XDG specification: a relative path in these variables is to be ignored.
    value = environ.get(variable, "")
    return Path(value) if value.startswith("/") else Path(environ.get("HOME") or Path.home()) / fallback
