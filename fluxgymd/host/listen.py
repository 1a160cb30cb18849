# SPDX-License-Identifier: Apache-2.0
"""The socket on which clients are served, unless systemd has passed one.

That a socket or a pid file exists does not mean that a daemon runs: a lock decides who owns the path. The new socket
is bound under another name and renamed, so that at any moment a client finds the old or the new one.
"""

import errno
import fcntl
import os
import socket
from pathlib import Path

from fluxgym.errors import ConfigInvalid, FluxgymError
from fluxgym.files import open_file
from fluxgym.paths import check_socket_folder

FD_NAME = "varlink"
"""The FileDescriptorName= of the socket that systemd passes."""

BACKLOG = 128


class SocketTaken(FluxgymError):
    """Another daemon already serves there."""

    exit_status = 4


class OwnSocket:
    """A socket that this process creates at a path, and removes when it closes."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock: int | None = None

    def open(self) -> socket.socket:
        """Creates the socket. Raises SocketTaken if a daemon serves there, ConfigInvalid if the folder is not safe or
        the path is not a socket."""
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
        fresh = self._path.with_name(f".{os.getpid()}")  # short, because the length of a socket's path is limited
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
        descriptor = open_file(self._path.with_name(f"{self._path.name}.lock"), os.O_RDWR | os.O_CREAT)
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
        """Raises SocketTaken if a daemon answers. A daemon under systemd does not hold the lock."""
        if self._path.exists() and not self._path.is_socket():
            raise ConfigInvalid(f"{self._path} exists but is not a socket, so it is kept; choose another --socket.")
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
            f"Another fluxgymd is already listening at {self._path}; stop it first, or choose another --socket."
        )
