# SPDX-License-Identifier: Apache-2.0
"""The sockets that systemd passes to a program (sd_listen_fds(3))."""

import os
import socket
from collections.abc import MutableMapping

FIRST_FD = 3


def activated(environ: MutableMapping[str, str], name: str | None = None) -> socket.socket | None:
    """The first socket with this FileDescriptorName=, or with any; None if systemd passed none. No socket is passed
    on to other programs."""
    names = environ.pop("LISTEN_FDNAMES", "").split(":")
    count = environ.pop("LISTEN_FDS", "0")
    if environ.pop("LISTEN_PID", "") != str(os.getpid()) or not count.isdigit():
        return None
    found = None
    for number in range(int(count)):
        descriptor = FIRST_FD + number
        os.set_inheritable(descriptor, False)
        if found is None and (name is None or names[number : number + 1] == [name]):
            found = socket.socket(fileno=descriptor)
            found.setblocking(False)
    return found
