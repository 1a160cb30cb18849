# SPDX-License-Identifier: Apache-2.0
"""`web`: creates links that give a browser access to the web server, and starts and stops the installed one."""

import html
import os
import webbrowser
from collections.abc import Callable
from typing import Any, TypeVar

import click
import msgspec

from fluxgym import paths, web_access
from fluxgymctl.manual import epilog
from fluxgymctl.output import note, write, write_json
from fluxgymctl.session import Session, common_options
from fluxgymctl.systemctl import systemctl

SERVICE = "fluxgym-web.service"
SOCKET = "fluxgym-web.socket"


class Link(msgspec.Struct):
    """What `web url --json` prints."""

    url: str


F = TypeVar("F", bound=Callable[..., Any])


@click.group("web", epilog=epilog("web open", "web url --port 7900"))
@common_options
def command() -> None:
    """Opens the page in a browser.

    A link works once, within ten minutes, and gives that browser permanent access. For a browser on another machine,
    forward the port first: ssh -L 7860:127.0.0.1:7860 HOST.
    """


def _port(function: F) -> F:
    option = click.option("--port", type=click.IntRange(1, 65535), help="The port of the web server.")
    return option(function)


@command.command("url", epilog=epilog("web url"))
@_port
@common_options
@click.pass_obj
def url(session: Session, port: int | None) -> None:
    """Prints a link that gives a browser access."""
    link = new_link(port)
    if session.json:
        write_json(Link(url=link))
    else:
        write(link)


@command.command("open", epilog=epilog("web open"))
@_port
@common_options
def show(port: int | None) -> None:
    """Opens the page in this machine's browser."""
    # Other users can see the browser's command line, so it gets the path of a file instead of the link.
    file = paths.web_state(os.environ) / "open.html"
    link = new_link(port)
    web_access.write_private(file, f'<meta http-equiv="refresh" content="0; url={html.escape(link)}">\n')
    if not webbrowser.open(file.as_uri()):
        note(f"No browser was found on this machine; open this link in yours: {link}")


@command.command("start", epilog=epilog("web start"))
@common_options
def start() -> None:
    """Starts the installed web server."""
    systemctl("start", SOCKET, SERVICE, called="web start", program="fluxgymweb")
    note("The web server is running; `fluxgymctl web open` opens the page.")


@command.command("stop", epilog=epilog("web stop"))
@common_options
def stop() -> None:
    """Stops the installed web server and its socket. Jobs are not affected."""
    systemctl("stop", SOCKET, SERVICE, called="web stop", program="fluxgymweb")
    note("The web server and its socket are stopped; jobs are not affected.")


def new_link(port: int | None) -> str:
    """A link to the server on this port, or to the one that started last."""
    folder = paths.web_state(os.environ)
    return f"{web_access.address(folder, port)}/enter?code={web_access.new_link(folder)}"
