# SPDX-License-Identifier: Apache-2.0
"""Runs a program within limits, and ties it to its daemon, so that it ends when the daemon ends:

    python -I -S tied.py DAEMON_PID [--data=BYTES] [--cpu=SECONDS] [--nice=STEPS] PROGRAM ARGUMENTS ...

A daemon that is killed cannot end its helpers, and a helper that copies a dataset would keep writing while the next
daemon deletes the half-made copy. So the kernel is asked to kill the helper when the daemon ends; this request and
the limits survive exec. Only the standard library is imported, so this costs 20 ms.
"""

import ctypes
import os
import resource
import signal
import sys

PR_SET_PDEATHSIG = 1  # linux/prctl.h


def main(daemon: int, words: list[str]) -> None:
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != daemon:
        sys.exit("its daemon has already ended")  # before the request reached the kernel
    for number in (signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(number, signal.SIG_DFL)  # Python ignores these, and exec would keep that
    while words[0].startswith("--"):
        _limit(*words.pop(0)[2:].split("="))
    try:
        os.execvp(words[0], words)
    except OSError as error:
        sys.exit(f"{words[0]} cannot be run: {error.strerror}")


def _limit(name: str, value: str) -> None:
    if name == "nice":
        os.nice(int(value))
        return
    kind = {"data": resource.RLIMIT_DATA, "cpu": resource.RLIMIT_CPU}[name]
    _, hard = resource.getrlimit(kind)
    resource.setrlimit(kind, (int(value) if hard == resource.RLIM_INFINITY else min(int(value), hard), hard))


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:])
