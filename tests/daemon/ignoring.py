# SPDX-License-Identifier: Apache-2.0
"""Starts a program as `nohup`, a script's `&` and many CI runners do, and worse: with signals ignored and blocked.

python ignoring.py PROGRAM [ARGUMENT...]
"""

import os
import signal
import sys

NUMBERS = (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP, signal.SIGPIPE)

if __name__ == "__main__":
    for number in NUMBERS:
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_BLOCK, NUMBERS)
    os.execvp(sys.argv[1], sys.argv[1:])
