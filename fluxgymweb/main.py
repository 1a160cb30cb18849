# SPDX-License-Identifier: Apache-2.0
"""fluxgymweb: the command line, the port, and the start and exit of the process."""

import os
import signal
import socket
import sys
from contextlib import suppress
from pathlib import Path

import click

from fluxgym import __version__, config, paths, startup, web_access
from fluxgym.activation import activated
from fluxgym.errors import FluxgymError
from fluxgym.protocol.async_client import AsyncClient
from fluxgymweb import listening

GRACE_SECONDS = 2
"""How long an open stream may delay the exit of the process."""


@click.command()
@click.version_option(__version__, message="%(version)s")
@click.option(
    "--address", metavar="ADDRESS", default="127.0.0.1", show_default=True, help="The address to listen on."
)
@click.option("--port", metavar="PORT", type=click.IntRange(1, 65535), default=web_access.PORT, show_default=True)
@click.option("--allowed-host", "allowed", metavar="HOST", multiple=True, help="Another host name of this server.")
@click.option("--root-path", metavar="PATH", default="", help="The path below which a proxy serves this server.")
@click.option("--socket", metavar="PATH", help="The daemon's socket (FLUXGYM_SOCKET).")
def main(address: str, port: int, allowed: tuple[str, ...], root_path: str, socket: str | None) -> None:
    """The web server of FluxGym, which shows the jobs in a browser.

    `fluxgymctl web url` prints a link that gives a browser access.
    """
    startup.settle()
    os.umask(0o077)
    try:
        settings = config.load(os.environ, {"socket": socket})
        folder = paths.web_state(os.environ)
        listener = activated(os.environ) or listening.listen(address, port)
        with listener:
            _serve(AsyncClient(settings.socket), listener, allowed, root_path.rstrip("/"), folder)
    except FluxgymError as error:
        click.echo(f"fluxgymweb: {error}", err=True)
        sys.exit(error.exit_status)


def _serve(
    client: AsyncClient, listener: socket.socket, allowed: tuple[str, ...], root_path: str, folder: Path
) -> None:
    import uvicorn

    from fluxgymweb import app

    name, port = listener.getsockname()[:2]
    hosts = listening.hosts(name, port, allowed)
    # No access log: it would contain the links.
    server = uvicorn.Server(
        uvicorn.Config(
            app.create(client, folder=folder, hosts=hosts),
            access_log=False,
            log_level="warning",
            server_header=False,
            ws="none",
            proxy_headers=False,
            root_path=root_path,
            timeout_graceful_shutdown=GRACE_SECONDS,
        )
    )
    shown = "127.0.0.1" if name in ("0.0.0.0", "::", "::1") else name
    web_access.note_address(folder, f"http://{shown}:{port}{root_path}")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())  # uvicorn raises it again at the end
    try:
        with suppress(KeyboardInterrupt):
            server.run(sockets=[listener])
    finally:
        web_access.forget_address(folder)
