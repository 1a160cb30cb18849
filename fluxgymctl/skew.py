# SPDX-License-Identifier: Apache-2.0
"""A client and a daemon of different versions: the user is told once, in one line, and both keep working (promise 9).

The client asks for the daemon's version together with the first call of a connection. That answer comes first, so it
costs no extra round trip. Every version can answer, since org.varlink.service is part of all of them.
"""

import re
import select
from collections.abc import Callable
from pathlib import Path

from fluxgym.errors import InterfaceNotFound, MethodNotFound
from fluxgym.protocol.client import Connection
from fluxgym.protocol.methods import GET_INFO, Method, Nothing, Parameters, Reply

PATIENCE_SECONDS = 5.0
"""A daemon answers the greeting at once, or within a second or two if it has to be started first."""


class GreetingConnection(Connection):
    """A connection that passes the daemon's version to `told` before the first reply, and calls `slow` once if the
    first reply is late. systemd holds the socket, so a daemon that cannot start looks like one that is busy."""

    def __init__(self, path: Path, told: Callable[[str], None], slow: Callable[[], None]) -> None:
        self._told = told
        self._slow = slow
        super().__init__(path)

    def _connect(self) -> None:
        super()._connect()
        self._greeted = False
        self._answered = False

    def _send(self, method: Method[Parameters, Reply], parameters: Parameters, *, more: bool) -> None:
        if not self._greeted:
            self._greeted = True
            super()._send(GET_INFO, Nothing(), more=False)
        super()._send(method, parameters, more=more)

    def _receive(self, method: Method[Parameters, Reply]) -> tuple[Reply, bool]:
        if not self._answered:
            self._answered = True
            if not select.select([self], [], [], PATIENCE_SECONDS)[0]:
                self._slow()
            info, _ = super()._receive(GET_INFO)
            self._told(info.version)
        try:
            return super()._receive(method)
        except (InterfaceNotFound, MethodNotFound) as error:
            raise type(error)(f"This daemon does not know {method.name}; it is older than this program.") from None


def sentence(*, ours: str, daemons: str) -> str | None:
    """What the user should know about the two versions; None if they are the same."""
    if ours == daemons:
        return None
    if _numbers(daemons) < _numbers(ours):
        how, effect = (
            "older than",
            "it rejects what is new in this program until it is upgraded and restarted",
        )
    elif _numbers(daemons) > _numbers(ours):
        how, effect = "newer than", "what is new in the daemon is shown as unknown or not at all"
    else:
        how, effect = "different from", "features that only one of them has do not work"
    return f"The daemon (version {daemons}) is {how} this program ({ours}): {effect}."


def _numbers(version: str) -> list[int]:
    """The release numbers of a version, such as [0, 2, 1] for 0.2.1rc1; empty if it has none."""
    numbers = re.match(r"\d+(\.\d+)*", version)
    return [int(number) for number in numbers[0].split(".")] if numbers else []
