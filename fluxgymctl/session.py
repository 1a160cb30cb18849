# SPDX-License-Identifier: Apache-2.0
"""What one call of the program knows: the options that every verb has, and the way to the daemon.

They may stand before the verb or after it; the last one counts.
"""

import os
from collections.abc import Callable
from typing import Any, TypeVar

import click

from fluxgym import __version__, config, paths
from fluxgym.client import Connection
from fluxgym.methods import Method, Parameters, Reply
from fluxgymctl.output import note
from fluxgymctl.skew import GreetingConnection, sentence

F = TypeVar("F", bound=Callable[..., Any])


class Session:
    """Filled by the common options while click reads the command line."""

    def __init__(self) -> None:
        self.socket: str | None = None
        self.json = False
        self._daemons_version = __version__

    def configuration(self) -> config.Config:
        """The settings of this call. ConfigInvalid if one is wrong."""
        return config.load(os.environ, {"socket": self.socket})

    def connect(self) -> Connection:
        """A new connection. DaemonUnreachable if there is no daemon; ConfigInvalid if the default place of the socket
        is not safe: in the temporary folder somebody else could have put a socket under our name."""
        path = self.configuration().socket
        if path == paths.default_socket(os.environ) and path.parent.exists():
            paths.check_socket_folder(path.parent)
        return GreetingConnection(path, self._meet, _say_that_it_is_slow)

    def _meet(self, version: str) -> None:
        """Says it when the daemon's version is not ours; at a reconnection only if it has changed."""
        if version != self._daemons_version and (text := sentence(ours=__version__, daemons=version)):
            note(text)
        self._daemons_version = version

    def call(self, method: Method[Parameters, Reply], parameters: Parameters) -> Reply:
        """One call on a connection of its own."""
        with self.connect() as connection:
            return connection.call(method, parameters)


def _say_that_it_is_slow() -> None:
    # To ask systemd helps, too: it may have slept over a restart until then (docs/decisions/failpoints.md).
    note("The daemon has not answered yet; `systemctl --user status fluxgymd` tells why. This program waits for it.")


def _keep(context: click.Context, parameter: click.Parameter, value: object) -> None:
    session = context.ensure_object(Session)
    if value:
        setattr(session, str(parameter.name), value)


def common_options(function: F) -> F:
    """Adds --socket and --json to a command."""
    for decorate in (
        click.option(
            "--json", is_flag=True, expose_value=False, callback=_keep, help="Print the interface's objects as JSON."
        ),
        click.option("--socket", metavar="PATH", expose_value=False, callback=_keep, help="The daemon's socket."),
    ):
        function = decorate(function)
    return function
