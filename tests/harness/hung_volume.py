# SPDX-License-Identifier: Apache-2.0
"""A mounted volume that never answers, like an NFS server that went away: a process that accesses a file on it waits
in the kernel forever, and once killed remains in state D until the volume is given up.

It is a FUSE file system (linux/fuse.h). Its server, a separate process, answers the kernel's first message and no
other.
"""

from __future__ import annotations

import ctypes
import os
import select
import struct
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Self

INIT = 26
"""FUSE_INIT, the opcode of the first message."""
REQUEST_HEADER = struct.Struct("<IIQQIIIHH")
"""struct fuse_in_header: length, opcode, unique number, node, uid, gid, pid, length of extensions, padding."""
MESSAGE_BYTES = 1 << 18
DETACH = 2  # MNT_DETACH of umount2(2)
SERVER_SECONDS = 60.0
"""Deadline for the server's end, which comes at once. Defined here because this file also runs as a program, and
imports nothing from the tests."""

_libc = ctypes.CDLL(None, use_errno=True)


class HungVolume:
    """`with HungVolume(folder) as volume:`. The folder must exist. At the end, processes that wait get an error."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __enter__(self) -> Self:
        command = [sys.executable, __file__, str(self.folder)]
        self._server = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self._server.stdout is not None
        assert self._server.stdout.readline() == "ready\n"
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.communicate(timeout=SERVER_SECONDS)  # the kernel gives up the volume when its server ends
        _libc.umount2(os.fsencode(self.folder), DETACH)


def _serve(folder: str) -> None:
    connection = os.open("/dev/fuse", os.O_RDWR)
    options = f"fd={connection},rootmode=40755,user_id=0,group_id=0,allow_other"
    if _libc.mount(b"hung", os.fsencode(folder), b"fuse", 0, options.encode()) != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), folder)
    asked = os.read(connection, MESSAGE_BYTES)
    _, opcode, number, *_ = REQUEST_HEADER.unpack_from(asked)
    assert opcode == INIT
    # struct fuse_init_out: version 7.31, no read-ahead, no flags, max_background 12, congestion_threshold 12, and
    # max_write 128 KiB.
    body = struct.pack("<IIIIHHI", 7, 31, 0, 0, 12, 12, 1 << 17).ljust(64, b"\0")
    os.write(connection, struct.pack("<IiQ", 16 + len(body), 0, number) + body)
    print("ready", flush=True)
    # While a request that the server has read is unanswered, its process cannot be killed. So read, never answer.
    os.set_blocking(connection, False)
    poll = select.poll()
    poll.register(connection, select.POLLIN)
    poll.register(sys.stdin, select.POLLIN)
    while True:
        ready = {descriptor for descriptor, _ in poll.poll()}
        if sys.stdin.fileno() in ready:
            return
        os.read(connection, MESSAGE_BYTES)


if __name__ == "__main__":
    _serve(sys.argv[1])
