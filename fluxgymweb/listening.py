# SPDX-License-Identifier: Apache-2.0
"""The port, unless systemd has opened it, and the names under which a browser may ask for it."""

import socket
from collections.abc import Iterable

import psutil

from fluxgym.errors import FluxgymError


class PortTaken(FluxgymError):
    """Another program listens on the port."""

    exit_status = 4


def listen(address: str, port: int) -> socket.socket:
    """A socket listening on this address. PortTaken says which process uses the port; FluxgymError otherwise."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        return socket.create_server((address, port), family=family, backlog=128)
    except OSError as error:
        if holder := _holder(port):
            raise PortTaken(f"Port {port} is in use by {holder}; stop it, or choose another --port.") from None
        raise FluxgymError(f"Cannot listen on {address}, port {port}: {error.strerror}.") from None


def hosts(address: str, port: int, allowed: Iterable[str]) -> set[str]:
    """The values of the Host header that name this server. `allowed`: additional names, with and without the port."""
    names = {"127.0.0.1", "localhost", "[::1]", f"[{address}]" if ":" in address else address}
    found = {f"{name}:{port}" for name in names - {"0.0.0.0", "[::]"}}
    for name in allowed:
        found |= {name.lower(), f"{name.lower()}:{port}"}
    return found


def _holder(port: int) -> str | None:
    """A description of the process that listens on a port; None if there is none."""
    for connection in psutil.net_connections("tcp"):
        if connection.status == psutil.CONN_LISTEN and connection.laddr and connection.laddr.port == port:
            if connection.pid is None:
                return "a process of another user"
            return f"{psutil.Process(connection.pid).name()} (process {connection.pid})"
    return None
