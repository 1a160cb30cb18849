# SPDX-License-Identifier: Apache-2.0
"""What the service manager is told: READY, STATUS, WATCHDOG and STOPPING (sd_notify(3)), by the sdnotify package.

Without a NOTIFY_SOCKET all of it does nothing; a manager that is gone is no error (the daemon outlives it).
"""

import os
from collections.abc import Mapping

import sdnotify


class Notifier:
    def __init__(self, environ: Mapping[str, str] = os.environ) -> None:
        # The package would make a socket all the same and leave it open.
        self._notifier = sdnotify.SystemdNotifier() if environ.get("NOTIFY_SOCKET") else None
        if self._notifier is not None and self._notifier.socket is not None:
            # A manager that does not read must not stop the daemon: what it has no room for is dropped.
            self._notifier.socket.setblocking(False)
        self._status = ""
        self.watchdog_seconds = _watchdog_seconds(environ)
        """How often the manager wants a beat at the least; None if it does not."""

    def ready(self) -> None:
        self._send("READY=1")

    def stopping(self) -> None:
        self._send("STOPPING=1")

    def beat(self) -> None:
        self._send("WATCHDOG=1")

    def ask_for_restart(self) -> None:
        """As if the beats had been missed: a manager that wants beats aborts this process, and starts another."""
        if self.watchdog_seconds is not None:
            self._send("WATCHDOG=trigger")

    def close(self) -> None:
        if self._notifier is not None and self._notifier.socket is not None:
            self._notifier.socket.close()

    def status(self, text: str) -> None:
        """One line for `systemctl status`."""
        # A newline in a job's name or a message must not become a notification of its own (daemons.md 3.1).
        line = "".join(character if character.isprintable() else " " for character in text)
        if line != self._status:
            self._status = line
            self._send(f"STATUS={line}")

    def _send(self, state: str) -> None:
        if self._notifier is not None:
            # The package sends Latin-1 and is silent about what that cannot hold; the manager takes UTF-8 only.
            self._notifier.notify(state.encode(errors="replace").decode("latin-1"))


def _watchdog_seconds(environ: Mapping[str, str]) -> float | None:
    microseconds = environ.get("WATCHDOG_USEC", "")
    if not microseconds.isdigit() or environ.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return None
    return int(microseconds) / 1e6
