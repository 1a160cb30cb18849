# SPDX-License-Identifier: Apache-2.0
"""The places of the configuration, the home, the socket and the machine's state. Only this module computes them."""

import os
import pwd
import stat
import tempfile
from collections.abc import Mapping
from pathlib import Path

from fluxgym.errors import ConfigInvalid

SOCKET_PATH_LIMIT = 107
"""Bytes of a Unix socket's path: sockaddr_un has 108, including the NUL at the end (unix(7))."""


def config_file(environ: Mapping[str, str]) -> Path:
    return _base(environ, "XDG_CONFIG_HOME", ".config") / "fluxgym" / "config.toml"


def default_home(environ: Mapping[str, str]) -> Path:
    return _base(environ, "XDG_DATA_HOME", ".local/share") / "fluxgym"


def machine_state(environ: Mapping[str, str]) -> Path:
    """The folder for facts about this machine rather than about a job. It is on a local disk, unlike a home."""
    path = _state(environ) / "machine"
    if not is_utf8(path):
        raise ConfigInvalid(
            f"The folder for the state of this machine, {printable(path)}, is not UTF-8; "
            "set XDG_STATE_HOME to one that is."
        )
    return path


def web_state(environ: Mapping[str, str]) -> Path:
    """The web server's folder: its token, its links, and unfinished uploads."""
    return _state(environ) / "web"


def default_socket(environ: Mapping[str, str]) -> Path:
    """The socket's path if FLUXGYM_SOCKET does not name one."""
    runtime = environ.get("XDG_RUNTIME_DIR", "")
    if runtime.startswith("/"):
        return Path(runtime) / "fluxgym" / "fluxgymd.sock"
    try:
        temporary = Path(tempfile.gettempdir())
    except FileNotFoundError:
        raise ConfigInvalid(
            "There is no folder for the socket: XDG_RUNTIME_DIR is not set, and neither TMPDIR nor /tmp is "
            "writable; set FLUXGYM_SOCKET."
        ) from None
    return temporary / f"fluxgym-{os.getuid()}" / "fluxgymd.sock"


def is_utf8(path: Path) -> bool:
    """Whether the path can be written to JSON and TOML, which are UTF-8."""
    try:
        str(path).encode()
    except UnicodeEncodeError:
        return False
    return True


def printable(path: Path) -> str:
    r"""The path, with a byte that is not UTF-8 as \xE9 instead of the surrogate that Python makes of it."""
    return os.fsencode(path).decode(errors="backslashreplace")


def check_socket(path: Path) -> Path:
    """The path itself, if a socket can have it; otherwise ConfigInvalid."""
    if len(os.fsencode(path)) > SOCKET_PATH_LIMIT:
        raise ConfigInvalid(
            f"The socket path {path} is longer than {SOCKET_PATH_LIMIT} bytes, which is the limit of Unix sockets; "
            "set FLUXGYM_SOCKET to a shorter one."
        )
    return path


def check_socket_folder(folder: Path) -> None:
    """Refuses a folder in which another user could put a socket with the daemon's name. ConfigInvalid.

    The temporary folder is writable for everybody, so somebody else may have created `fluxgym-UID` there.
    """
    facts = folder.lstat()
    if stat.S_ISLNK(facts.st_mode) or not stat.S_ISDIR(facts.st_mode):
        problem = "it is not a folder"
    elif facts.st_uid not in (os.getuid(), 0):
        problem = f"it belongs to user {facts.st_uid}"
    elif facts.st_mode & 0o022:  # also if it is root's, as /tmp is: anybody could put a socket there first
        problem = "other users can write to it"
    else:
        return
    raise ConfigInvalid(f"The socket folder {folder} is not safe: {problem}; set FLUXGYM_SOCKET to another place.")


def _state(environ: Mapping[str, str]) -> Path:
    return _base(environ, "XDG_STATE_HOME", ".local/state") / "fluxgym"


def _base(environ: Mapping[str, str], variable: str, fallback: str) -> Path:
    # The XDG specification says that a relative path in these variables must be ignored.
    value = environ.get(variable, "")
    return Path(value) if value.startswith("/") else _user_home(environ) / fallback


def _user_home(environ: Mapping[str, str]) -> Path:
    value = environ.get("HOME", "")
    if value.startswith("/"):
        return Path(value)
    try:
        return Path(pwd.getpwuid(os.getuid()).pw_dir)
    except KeyError:  # as in a container that runs under an arbitrary UID
        raise ConfigInvalid(
            f"User {os.getuid()} has no home directory on this machine; set HOME to an absolute path."
        ) from None
