# SPDX-License-Identifier: Apache-2.0
"""A web server on this machine's loopback address, which keeps the requests that are posted to it."""

from __future__ import annotations

import http.server
import threading
from dataclasses import dataclass, field
from queue import SimpleQueue
from typing import Self

from tests.harness.waiting import DEADLINE_SECONDS, join


@dataclass(frozen=True, kw_only=True)
class Posted:
    path: str
    headers: dict[str, str]
    body: bytes


@dataclass
class Web:
    """`with Web() as web:`; it answers each POST with `status`, but a POST to /hang only when the block ends."""

    status: int = 200
    posted: SimpleQueue[Posted] = field(default_factory=SimpleQueue)

    def __enter__(self) -> Self:
        web, self._leave = self, threading.Event()

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                web.posted.put(Posted(path=self.path, headers=dict(self.headers), body=body))
                if self.path == "/hang":
                    web._leave.wait(timeout=DEADLINE_SECONDS)
                self.send_response(web.status)
                self.send_header("Location", f"{web.address}/elsewhere")
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, name="web")
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._leave.set()
        self._server.shutdown()
        join(self._thread)
        self._server.server_close()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def next(self) -> Posted:
        """Waits for the next request and returns it."""
        return self.posted.get(timeout=DEADLINE_SECONDS)
