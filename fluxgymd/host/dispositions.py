# SPDX-License-Identifier: Apache-2.0
"""Signal dispositions and masks: what the daemon inherited must not reach the programs that it starts.

`nohup`, `sh -c "... &"` and many CI runners start a program with signals ignored. A signal that is ignored or blocked
stays so across fork and exec, and a trainer that ignores SIGINT or SIGQUIT can't be interrupted or asked for its
stacks. So the daemon undoes both for itself before it starts anything: exec resets what the daemon handles, and
`subprocess` what Python itself ignores (SIGPIPE, SIGXFSZ). docs/decisions/0070-signals-from-outside.md.
"""

import signal

RESETTABLE = frozenset(signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP})
"""For `posix_spawn`, which inherits everything that it isn't told to reset."""
IGNORED_BY_PYTHON = frozenset({signal.SIGPIPE, signal.SIGXFSZ})


def reset() -> None:
    """Gives this process the dispositions and the mask of one started from an ordinary shell."""
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    for number in RESETTABLE - IGNORED_BY_PYTHON:
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, signal.SIG_DFL)
