# SPDX-License-Identifier: Apache-2.0
"""What the service manager is told: READY, STATUS, WATCHDOG and STOPPING (sd_notify(3)), by the sdnotify package.

Without a NOTIFY_SOCKET all of it does nothing; a manager that is gone is no error (the daemon outlives it).
"""

import os
from collections.abc import Mapping

import sdnotify


class Notifier:
    def __init__(self, environ: Mapping[str, str] = os.environ) -> None:
        self._notifier = sdnotify.SystemdNotifier()
        self._status = ""
        self.watchdog_seconds = _watchdog_seconds(environ)
        """How often the manager wants a beat at the least; None if it does not."""

    def ready(self) -> None:
        self._notifier.notify("READY=1")

    def stopping(self) -> None:
        self._notifier.notify("STOPPING=1")

    def beat(self) -> None:
        self._notifier.notify("WATCHDOG=1")

    def status(self, text: str) -> None:
        """One line for `systemctl status`."""
        # A newline in a job's name or a message must not become a notification of its own (daemons.md 3.1).
        line = "".join(character if character.isprintable() else " " for character in text)
        if line != self._status:
            self._status = line
            self._notifier.notify(f"STATUS={line}")


def _watchdog_seconds(environ: Mapping[str, str]) -> float | None:
    microseconds = environ.get("WATCHDOG_USEC", "")
    if not microseconds.isdigit() or environ.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return None
    return int(microseconds) / 1e6
