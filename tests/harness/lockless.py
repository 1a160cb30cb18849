# SPDX-License-Identifier: Apache-2.0
"""A program that runs a command as if every volume carried no locks: flock(2) fails with ENOLCK.

    lockless.py COMMAND...

The kernel itself refuses the call, by a seccomp filter that all descendants inherit; everything else is as it is.
Standard library only. Needs root, or a user who may gain no privileges by `exec` afterwards (no_new_privs is set).
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import struct
import sys

FLOCK = {"x86_64": 73, "aarch64": 32}  # asm/unistd.h
PR_SET_SECCOMP, PR_SET_NO_NEW_PRIVS = 22, 38  # linux/prctl.h
SECCOMP_MODE_FILTER = 2  # linux/seccomp.h
SECCOMP_RET_ALLOW, SECCOMP_RET_ERRNO = 0x7FFF0000, 0x00050000
BPF_LOAD_WORD, BPF_JUMP_IF_EQUAL, BPF_RETURN = 0x20, 0x15, 0x06  # linux/bpf_common.h: LD|W|ABS, JMP|JEQ|K, RET|K


class Program(ctypes.Structure):
    """struct sock_fprog."""

    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_char_p))


def instruction(code: int, value: int, *, if_true: int = 0, if_false: int = 0) -> bytes:
    """struct sock_filter."""
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


if __name__ == "__main__":
    refuse_locks()
    os.execvp(sys.argv[1], sys.argv[1:])
