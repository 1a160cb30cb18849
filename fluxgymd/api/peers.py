# SPDX-License-Identifier: Apache-2.0
"""Which process is at the other end of a connection, and whether it is still there."""

import os
import select
import socket
import struct


def is_ours(peer: socket.socket) -> bool:
    """Whether the peer is this user or root."""
    return _credentials(peer)[1] in (os.getuid(), 0)


def session_and_process(peer: socket.socket) -> tuple[int, int]:
    """Session and pid of the process that connected (credentials(7)); 0 if unknown, as from another pid namespace."""
    process = _credentials(peer)[0]
    try:
        return (os.getsid(process) if process else 0), process
    except OSError:
        return 0, process


def _credentials(peer: socket.socket) -> tuple[int, int, int]:
    """Pid, uid and gid of the process that connected (unix(7): SO_PEERCRED)."""
    found = peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    process, user, group = struct.unpack("3i", found)
    return process, user, group


def hung_up(peer: socket.socket) -> bool:
    """Whether the client has closed its end completely; poll(2) reports that even while its bytes wait unread."""
    poll = select.poll()
    poll.register(peer.fileno(), 0)
    return any(events & select.POLLHUP for _, events in poll.poll(0))
