# SPDX-License-Identifier: Apache-2.0
"""The socket on which clients are served: systemd's, or one of our own that can only be made once.

A path is never trusted by its mere existence, and neither is a pid file: a lock says who owns it, and the new socket
is bound under another name and renamed, so that a client meets an old one or a new one and never none.
"""

import errno
import fcntl
import os
import socket
from collections.abc import MutableMapping
from pathlib import Path

from fluxgym.errors import ConfigInvalid, FluxgymError
from fluxgym.paths import check_socket_folder

FIRST_FD = 3
FD_NAME = "varlink"
BACKLOG = 128


class SocketTaken(FluxgymError):
    """A daemon serves there already."""

    exit_status = 4


def activated(environ: MutableMapping[str, str]) -> socket.socket | None:
    """The socket that systemd passed (sd_listen_fds(3)), chosen by its name; None if it passed none."""
    names = environ.pop("LISTEN_FDNAMES", "").split(":")
    count = environ.pop("LISTEN_FDS", "0")
    if environ.pop("LISTEN_PID", "") != str(os.getpid()) or not count.isdigit():
        return None
    found = None
    for number in range(int(count)):
        descriptor = FIRST_FD + number
        os.set_inheritable(descriptor, False)
        if number < len(names) and names[number] == FD_NAME and found is None:
            found = socket.socket(fileno=descriptor)
            found.setblocking(False)
    return found


class OwnSocket:
    """A socket that this process makes at a path, and removes when it closes."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock: int | None = None

    def open(self) -> socket.socket:
        """SocketTaken if a daemon serves there; ConfigInvalid if the place is not safe."""
        folder = self._path.parent
        if not folder.exists():
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        check_socket_folder(folder)
        self._take_lock()
        try:
            self._refuse_live()
            return self._bind()
        except BaseException:
            self._give_lock_back()
            raise

    def close(self) -> None:
        if self._lock is not None:
            self._path.unlink(missing_ok=True)
            self._give_lock_back()

    def _bind(self) -> socket.socket:
        fresh = self._path.with_name(f".{os.getpid()}")  # short: a socket's path has a limit
        fresh.unlink(missing_ok=True)
        listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)
        mask = os.umask(0o177)
        try:
            listening.bind(os.fspath(fresh))
        finally:
            os.umask(mask)
        listening.listen(BACKLOG)
        fresh.rename(self._path)
        return listening

    def _take_lock(self) -> None:
        descriptor = os.open(
            self._path.with_name(f"{self._path.name}.lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600
        )
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(descriptor)
            if error.errno != errno.EWOULDBLOCK:
                raise
            raise self._taken() from None
        self._lock = descriptor

    def _give_lock_back(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def _refuse_live(self) -> None:
        """A daemon under systemd holds no lock of ours, but it answers."""
        if self._path.exists() and not self._path.is_socket():
            raise ConfigInvalid(
                f"{self._path} is there and is not a socket, so it stays; give this fluxgymd another --socket."
            )
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            probe.settimeout(2)
            try:
                probe.connect(os.fspath(self._path))
            except (FileNotFoundError, ConnectionRefusedError):
                return
            except OSError:
                pass
        raise self._taken()

    def _taken(self) -> SocketTaken:
        return SocketTaken(
            f"A fluxgymd already serves at {self._path}; stop it first, or give this one another --socket."
        )
