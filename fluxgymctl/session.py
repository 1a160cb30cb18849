# SPDX-License-Identifier: Apache-2.0
"""The state of one call of the program: the options that every verb has, and the connection to the daemon.

The options may be given before or after the verb; the last one counts.
"""

import os
from collections.abc import Callable
from typing import Any, TypeVar

import click

from fluxgym import __version__, config, paths
from fluxgym.protocol.client import Connection
from fluxgym.protocol.methods import Method, Parameters, Reply
from fluxgymctl.output import note
from fluxgymctl.skew import GreetingConnection, sentence

F = TypeVar("F", bound=Callable[..., Any])


class Session:
    """The common options fill it while click reads the command line."""

    def __init__(self) -> None:
        self.socket: str | None = None
        self.json = False
        self._daemons_version = __version__

    def configuration(self) -> config.Config:
        """The settings of this call. ConfigInvalid if one is wrong."""
        return config.load(os.environ, {"socket": self.socket})

    def connect(self) -> Connection:
        """A new connection. DaemonUnreachable if there is no daemon; ConfigInvalid if the socket's default folder is
        not safe: in the temporary folder, another user could have put a socket with the daemon's name."""
        path = self.configuration().socket
        if path == paths.default_socket(os.environ) and path.parent.exists():
            paths.check_socket_folder(path.parent)
        return GreetingConnection(path, self._meet, _say_that_it_is_slow)

    def _meet(self, version: str) -> None:
        """Tells the user if the daemon's version is not the client's; after a reconnection only if it changed."""
        if version != self._daemons_version and (text := sentence(ours=__version__, daemons=version)):
            note(text)
        self._daemons_version = version

    def call(self, method: Method[Parameters, Reply], parameters: Parameters) -> Reply:
        """One call on a new connection."""
        with self.connect() as connection:
            return connection.call(method, parameters)


def _say_that_it_is_slow() -> None:
    # The status command itself helps: it can wake a systemd that missed a restart (docs/decisions/failpoints.md).
    note("Still waiting for the daemon to answer; `systemctl --user status fluxgymd` shows why it is late.")


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
