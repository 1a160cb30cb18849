# SPDX-License-Identifier: Apache-2.0
"""A client that sends given bytes and collects what comes back."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable, Sequence
from pathlib import Path

from tests.harness.waiting import DEADLINE_SECONDS


def converse(
    path: Path,
    parts: Sequence[bytes],
    *,
    may_leave: Callable[[bytes], bool] = lambda _: False,
    first: Callable[[], object] = lambda: None,
) -> bytes:
    """Sends the parts one by one and closes its sending side. Returns what comes back until the daemon closes the
    connection, or until `may_leave` accepts what was received; in that case it calls `first` before it leaves."""
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(DEADLINE_SECONDS)
        client.connect(str(path))
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            # The daemon may refuse before it has read everything; its answer is there all the same.
            for part in parts:
                client.sendall(part)
            client.shutdown(socket.SHUT_WR)
        received = b""
        # If the daemon closes before it has read everything, the kernel reports that the connection was reset.
        with contextlib.suppress(ConnectionResetError):
            while not may_leave(received):
                if not (data := client.recv(1 << 16)):
                    return received
                received += data
            first()
            client.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                while data := client.recv(1 << 16):
                    received += data
        return received[: received.rfind(b"\0") + 1]  # without the incomplete answer at the end
