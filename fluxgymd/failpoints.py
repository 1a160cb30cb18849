# SPDX-License-Identifier: Apache-2.0
"""Places where a test can kill the daemon, hang it, or simulate a disk error: `failpoint("journal.written")`.

They do nothing unless FLUXGYM_FAILPOINTS is set, a comma-separated list of

    NAME=kill             SIGKILL to this process at the first pass
    NAME=kill:3           at the third pass
    NAME=hang             every thread that passes waits forever
    NAME=hang:3           only the third thread that passes
    NAME=error:ENOSPC     that OSError at every pass
    NAME=error:EIO:2-4    at the second to the fourth pass

It is a real kill -9: no handler runs, and no buffer is written. A line on stderr names the failpoint that kills or
hangs. The tests read the names from the source (tests/crash/names.py): each name occurs once, as a literal, so a new
one is covered automatically. The shim has its own small copy of this code, because it is a single file
(fluxgymd/attempts/shim.py); its names begin with `shim.`.
"""

import errno
import os
import re
import signal
import sys
import threading
from dataclasses import dataclass

VARIABLE = "FLUXGYM_FAILPOINTS"

_WHAT = r"(?P<name>[a-z_.]+)=(?:kill|(?P<hang>hang)|error:(?P<error>E[A-Z0-9]+))"
_WHEN = r"(?::(?P<first>\d+)(?:-(?P<last>\d+))?)?"
_RULE = re.compile(_WHAT + _WHEN)


@dataclass(slots=True)
class FailpointRule:
    """What happens at one failpoint."""

    error: int | None
    """The errno of the OSError that is raised; None if the failpoint kills or hangs."""
    hang: bool
    """The thread waits forever. Without `error` and `hang` the failpoint kills."""
    first: int
    last: int | None
    """The first and the last pass at which it happens, counted from 1; None: all passes from the first on."""
    passes: int = 0


def parse(text: str) -> dict[str, FailpointRule]:
    """The rules by name. Raises ValueError with one sentence if the text is not a list of rules."""
    rules = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        found = _RULE.fullmatch(part)
        number = getattr(errno, found["error"], None) if found and found["error"] else None
        if found is None or (found["error"] and number is None):
            raise ValueError(
                f"{VARIABLE} holds {part!r}; write NAME=kill, NAME=hang or NAME=error:ERRNO, with :PASS for one pass."
            )
        first = int(found["first"] or 1)
        last = found["last"] or found["first"]
        rules[found["name"]] = FailpointRule(number, found["hang"] is not None, first, int(last) if last else None)
    return rules


def failpoint(name: str) -> None:
    """Applies the rule for this name, if there is one: kills this process, waits forever, or raises OSError."""
    if _rules:
        _pass(name)


def _pass(name: str) -> None:
    rule = _rules.get(name)
    if rule is None:
        return
    with _lock:
        rule.passes += 1
        due = rule.first <= rule.passes and (rule.last is None or rule.passes <= rule.last)
    if not due:
        return
    if rule.error is not None:
        raise OSError(rule.error, os.strerror(rule.error))
    if rule.hang:
        os.write(2, f"failpoint {name}: hangs\n".encode())
        threading.Event().wait()
    os.write(2, f"failpoint {name}: kill -9\n".encode())
    os.kill(os.getpid(), signal.SIGKILL)


_lock = threading.Lock()
try:
    _rules = parse(os.environ.get(VARIABLE, ""))
except ValueError as problem:
    sys.exit(f"fluxgymd: {problem}")
