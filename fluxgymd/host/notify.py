# SPDX-License-Identifier: Apache-2.0
"""Notifies the service manager with READY, STATUS, WATCHDOG and STOPPING (sd_notify(3)), using the sdnotify package.

Without NOTIFY_SOCKET nothing is sent. A manager that is gone is not an error, because the daemon outlives it.
"""

import os
from collections.abc import Mapping

import sdnotify


class Notifier:
    def __init__(self, environ: Mapping[str, str] = os.environ) -> None:
        # Without NOTIFY_SOCKET the package would still create a socket and leave it open.
        self._notifier = sdnotify.SystemdNotifier() if environ.get("NOTIFY_SOCKET") else None
        if self._notifier is not None and self._notifier.socket is not None:
            # A manager that does not read must not block the daemon. Messages that find no room are dropped.
            self._notifier.socket.setblocking(False)
        self._status = ""
        self.watchdog_seconds = _watchdog_seconds(environ)
        """The longest time between two beats that the manager accepts; None if it expects none."""

    def ready(self) -> None:
        self._send("READY=1")

    def stopping(self) -> None:
        self._send("STOPPING=1")

    def beat(self) -> None:
        self._send("WATCHDOG=1")

    def ask_for_restart(self) -> None:
        """Makes a manager that expects beats act as if they had been missed: it aborts this process and starts
        another."""
        if self.watchdog_seconds is not None:
            self._send("WATCHDOG=trigger")

    def close(self) -> None:
        if self._notifier is not None and self._notifier.socket is not None:
            self._notifier.socket.close()

    def status(self, text: str) -> None:
        """Sets the line that `systemctl status` shows."""
        # A newline separates notifications, so one in a message must not be sent.
        line = "".join(character if character.isprintable() else " " for character in text)
        if line != self._status:
            self._status = line
            self._send(f"STATUS={line}")

    def _send(self, state: str) -> None:
        if self._notifier is not None:
            # The package encodes as Latin-1 and silently drops other text; the manager accepts only UTF-8.
            self._notifier.notify(state.encode(errors="replace").decode("latin-1"))


def _watchdog_seconds(environ: Mapping[str, str]) -> float | None:
    microseconds = environ.get("WATCHDOG_USEC", "")
    if not microseconds.isdigit() or environ.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return None
    return int(microseconds) / 1e6
