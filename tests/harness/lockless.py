# SPDX-License-Identifier: Apache-2.0
"""A program that runs a command as if no volume supported locks: flock(2) fails with ENOLCK.

    lockless.py COMMAND...
    lockless.py --listen SOCKET COMMAND...
        passes on the listening socket as systemd does (sd_listen_fds(3)): a daemon that creates its own socket also
        locks it, which must not fail, since a socket is not on such a volume

The kernel itself refuses the call, by a seccomp filter that all descendants inherit; nothing else changes. Standard
library only. Needs root, or a user whose later `exec` calls need no new privileges (no_new_privs is set).
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import socket
import struct
import sys

FLOCK = {"x86_64": 73, "aarch64": 32}  # asm/unistd.h
PR_SET_SECCOMP, PR_SET_NO_NEW_PRIVS = 22, 38  # linux/prctl.h
SECCOMP_MODE_FILTER = 2  # linux/seccomp.h
SECCOMP_RET_ALLOW, SECCOMP_RET_ERRNO = 0x7FFF0000, 0x00050000
BPF_LOAD_WORD, BPF_JUMP_IF_EQUAL, BPF_RETURN = 0x20, 0x15, 0x06  # linux/bpf_common.h: LD|W|ABS, JMP|JEQ|K, RET|K


class Program(ctypes.Structure):
    """struct sock_fprog (linux/filter.h)."""

    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_char_p))


def instruction(code: int, value: int, *, if_true: int = 0, if_false: int = 0) -> bytes:
    """struct sock_filter (linux/filter.h)."""
    return struct.pack("=HBBI", code, if_true, if_false, value)


def refuse_locks() -> None:
    steps = (
        instruction(BPF_LOAD_WORD, 0),  # seccomp_data.nr
        instruction(BPF_JUMP_IF_EQUAL, FLOCK[platform.machine()], if_false=1),
        instruction(BPF_RETURN, SECCOMP_RET_ERRNO | errno.ENOLCK),
        instruction(BPF_RETURN, SECCOMP_RET_ALLOW),
    )
    program = Program(len(steps), b"".join(steps))
    libc = ctypes.CDLL(None, use_errno=True)
    for arguments in (
        (PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0),
        (PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.byref(program), 0, 0),
    ):
        if libc.prctl(*arguments) != 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))


def listen(path: str) -> None:
    """Listens on this path, on descriptor 3, which the command then inherits."""
    if os.path.exists(path):
        os.unlink(path)
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(path)
    listening.listen()
    descriptor = listening.detach()
    if descriptor != 3:
        os.dup2(descriptor, 3)
    os.set_inheritable(3, True)
    os.environ |= {"LISTEN_FDS": "1", "LISTEN_PID": str(os.getpid()), "LISTEN_FDNAMES": "varlink"}


if __name__ == "__main__":
    command = sys.argv[1:]
    if command[0] == "--listen":
        listen(command[1])
        command = command[2:]
    refuse_locks()
    os.execvp(command[0], command)
